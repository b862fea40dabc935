"""GPUs: NVML on this host, `balancer agent` or dcgm-exporter on others, and whose GPUs they are."""
