"""The case file that `cenotaph init` writes."""

from __future__ import annotations

from pathlib import Path

from cenotaph.errors import UsageError

TEXT = """\
# case.toml: what is to be destroyed, by whom, and who must agree.
# No secrets and no personal data belong in this file. Paths are relative to it.

[case]
name = "my-case"                       # also the name of the proof file
operator = "Big Data Bureau"           # your organisation
key = "file:keys/Bureau"               # made by: cenotaph keygen --role operator … --out keys/Bureau
log = "log"                            # your log, one for all your cases; keep it for ever
basis = ""                             # why: law, contract, purpose achieved
# contact = "objections@bureau.example" # where anyone may object, or bring a record of their own
notice = "72h"                         # between publishing the approved plan and the first erasure
# search = ["/srv"]                    # where the survey looks for stores that nobody declared

[[app]]                                # what people know; apps and stores are many-to-many
name = "health code"
purpose = "movement permission"
stores = ["health"]
# retire = true                        # it is to be switched off: people testify, an auditor looks
# by = ["notary"]                      # the roles of which somebody is to testify
# endpoint = "https://code.example/"   # gone is 404, 410, refused, or no such host; one, or a list
# port = "10.0.0.7:5432"               # addresses stay in this file: no statement has them
# job = "/etc/cron.d/sync"             # or "systemd:sync.timer", or "crontab:USER:A PART OF THE LINE"
# host = "web1"                        # the machine that its jobs ran on

# [[recipient]]                        # others who were given copies
# name = "Statistics Office"
# why = "yearly report"
# confirm = true                       # somebody is to testify that their copy is gone
# by = ["notary"]

# [[step]]                             # what else people are to see
# says = "medium destroyed"            # or key destroyed, samples destroyed, witnessed
# about = "tape library 3"             # never a person
# by = ["notary"]

[[store]]
name = "health"
url = "sqlite:apps/health.db"          # sqlite:PATH, files:PATH (a folder or one file), or
                                       # postgresql://USER@HOST:PORT/DATABASE, or env:NAME for a whole address
grade = "L2"                           # asked for; what is reached is stated, never rounded up
scope = "everything"                   # or { collections = ["visits*"] },
                                       # { rows = "created < DATE '2021-01-01'" },
                                       # { subjects = "file:people.txt" }
# subject = { "visits" = "id_number" } # collection and the column that names the person

# A PostgreSQL store reaches L2 with: shared = ["statistics", "wal"], owner = "…" (a party of role owner), and
# with "wal_archive", "logs", "replicas", "backups" where it has any. See docs/operate/postgres.md
# [[copy]]                             # a copy of it that nobody but its owner knows of
# store = "health"
# kind = "dump"   # or base backup, wal archive, server log; standby, logical subscriber (url, not path)
# path = "/backup/health.dump"
# renew = "/backup/health-new.dump"    # where part of it stays: made anew before the old one goes

# For L3, "none on the whole volume", a store also says: grade = "L3", shared = ["free_space"]
# [[volume]]                           # a mounted ext4 or xfs, whose free blocks may then be wiped
# path = "/srv/retired"                # its mount point; never the volume of /
# owner = "Host Co"                    # a [[party]] of role owner, who must approve the plan
# quiesced = true                      # the owner declares: nobody else writes to it meanwhile
# kept = []                            # files and folders on it that stay, whatever they hold

# [[hold]]                             # what must stay, and who says so
# by = "District court"
# reference = "case 21-443"
# stores = ["health"]
# collections = ["visits_2021_court"]
# subjects = "file:held.txt"

[[party]]                              # an auditor: reads, draws samples, searches afterwards
organisation = "Audit Co"
role = "auditor"
key = "keys/AuditCo.pub"               # they make it: cenotaph-proof keygen --role auditor …

[[party]]
organisation = "Zhao & Partners"
role = "notary"
key = "keys/Zhao.pub"

[[party]]                              # saw the log, and vouches that it only grows
organisation = "Daily Paper"
role = "log-witness"
key = "keys/DailyPaper.pub"
cosign = "file:keys/DailyPaper"        # in rehearsals only: a witness keeps its own key, at https://…

[policy]
approve = { auditor = 1, notary = 1 }  # how many organisations of each role must approve the plan
witness = 1                            # cosignatures that a checkpoint needs
challenge = { bound = 0.01, confidence = 0.99 }
clock_skew = "5m"
approval_lasts = "90d"

[limits]
lock_timeout = "30s"
# bytes_per_second = 50000000
# window = "22:00-06:00"               # destroy only then, UTC
workers = 2

# [seal]                               # a seal on certificate.pdf; the proof file needs none
# key = "file:keys/seal.key"           # a private key in PEM, read only when sealing
# certificate = "keys/seal.pem"        # what a certificate authority gave you for it
# chain = "keys/chain.pem"             # up to the roots, the time-stamping authority's too
# tsa = "https://tsa.example/tsr"      # an authority that stamps the time (RFC 3161)
"""


def write(folder: Path) -> Path:
    """Write the template. Raises: UsageError when there is a case already."""
    path = folder / "case.toml"
    if path.exists():
        raise UsageError(f"{path} is there already", hint="edit it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT, "utf-8")
    return path
