"""The words of generated text: short ones, so that each is one token with the space before it."""

WORDS = """
about above across after again air all almost along also always and animal answer any are around ask away back
base be began being below best better big black blue boat body book both box bring build but call came can car
care carry change city clear close cold color come common could cross cut dark day deep did do door down draw
drive dry early earth east eat end enough even ever every eye face fact fall family far farm fast feel few
field find fine fire first fish five fly follow food foot for form found four free friend from full game gave
get girl give go gold good great green ground group grow had half hand hard has have head hear heat help here
high hold home horse hot hour house how idea if inch island it just keep kind king know land large last late
laugh lay lead learn leave left less let letter life light like line list little live long look low made main
make many map mark may mean men might mile mind minute miss money moon more most mother move much music must
name near need never new next night north note notice now number object ocean of off often old on once one
only open or order other our out over own page paper part pass past people person piece place plain plan plane
plant play point port pose press pull put quick rain ran read ready real red rest right river road rock room
round rule
""".split()  # noqa: SIM905 - as a list it would take a line a word
