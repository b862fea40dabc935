"""nginx, as the system has it."""

import os
from collections.abc import Callable

from benchmarks.peers.environment import system_program, told_version
from benchmarks.peers.peer import SESSION_HEADER, Peer, Place, Program, Tools


def find(method: str = "") -> Callable[[Tools], Program]:
    """`method` is the directive that chooses; nginx goes round without one."""

    def found(_: Tools) -> Program:
        program = str(system_program("nginx"))

        def command(place: Place) -> list[str]:
            config = place.folder / "nginx.conf"
            config.write_text(nginx_config(place, method), encoding="utf-8")
            return [program, "-p", str(place.folder), "-e", "stderr", "-c", str(config)]

        return Program(command, told_version((program, "-v"), r"nginx/(\S+)"))

    return found


def nginx_config(place: Place, method: str = "") -> str:
    servers = "".join(f"    server {url.removeprefix('http://')};\n" for url in place.upstreams)
    chosen_by = f"    {method};\n" if method else ""
    folder = place.folder
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
{user}worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
{temporary}  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  upstream replicas {{
{chosen_by}{servers}    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


PEERS = (
    Peer("nginx/round_robin", find(), modelled_by="round_robin"),
    Peer("nginx/least_conn", find("least_conn"), modelled_by="least_requests"),
    Peer(
        "nginx/hash",
        find("hash $http_x_session_id consistent"),
        modelled_by="session",
        session_header=SESSION_HEADER,
    ),
)
