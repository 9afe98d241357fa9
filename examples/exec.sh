#!/bin/sh
# Access for any command, outside Keyferry's own pipelines: on a laptop, or in another CI.
#
# Before: you are signed in (`keyferry login`, or KEYFERRY_TOKEN), and may use the connections
# `team-git` (a Git server) and `payment-keys` (type generic).
set -eu

# Git asks Keyferry. The password is in no file, no variable and no argument.
keyferry exec --connection team-git -- \
    git clone --quiet https://git.example.com/team/app.git checkout
test -f checkout/README.md

# Tools without a credential helper get a variable, for as long as they run.
keyferry exec --connection payment-keys=keys --env 'API_KEY=${keys.API_KEY}' -- \
    sh -c 'test "${#API_KEY}" -ge 32 && echo "a key of 32 characters or more"'
