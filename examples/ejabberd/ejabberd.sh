#!/bin/sh
# Runs ejabberd as an app runs: in the foreground, on the ports it is told, with its data in this directory. ejabberdctl does
# not: it runs as root or as the user ejabberd, and starts a node with a name, which needs epmd, a daemon with a port of its own.
set -eu
for name in PORT_C2S PORT_S2S PORT_HTTP; do
  eval "[ -n \"\${$name:-}\" ]" || {
    echo "cannot start: $name is not in the environment; start this app with \`tambat start\`" >&2
    exit 1
  }
done
DATA=$PWD/data HOST=${HOST:-127.0.0.1}
[ "$HOST" != 0.0.0.0 ] || HOST=:: # everywhere is not IPv4 alone
mkdir -p "$DATA"
sed -e "s|@DATA@|$DATA|g; s|@HOST@|$HOST|" \
  -e "s|@PORT_C2S@|$PORT_C2S|; s|@PORT_S2S@|$PORT_S2S|; s|@PORT_HTTP@|$PORT_HTTP|" ejabberd.yml > "$DATA/ejabberd.yml"

export EJABBERD_CONFIG_PATH="$DATA/ejabberd.yml" EJABBERD_LOG_PATH="$DATA/ejabberd.log" ERL_CRASH_DUMP="$DATA/crash.dump"
# Debian has it below the folder of its architecture.
ERL_LIBS=$(dirname "$(ls -d /usr/lib/*/ejabberd-* /usr/lib/ejabberd-* 2>/dev/null | head -n 1)")
export ERL_LIBS HOME="$DATA"

# The accounts of ACCOUNTS ("alice:secret bob:secret"). Those that are there already keep their passwords.
# shellcheck disable=SC2016
register='[ejabberd_auth:try_register(list_to_binary(User), <<"localhost">>, list_to_binary(Password))
  || Account <- string:lexemes(os:getenv("ACCOUNTS", ""), " "), [User, Password] <- [string:split(Account, ":")]].'
exec erl -noinput -mnesia dir "\"$DATA/spool\"" -s ejabberd -eval "$register"
