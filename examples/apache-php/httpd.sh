#!/bin/sh
# Runs httpd as an app runs: in the foreground, on PORT, ended by TERM, and as nobody special.
set -eu
APP=$PWD RUN=$PWD/run HOST=${HOST:-127.0.0.1}
: "${PORT:?is not in the environment; start this app with \`tambat start\`}"
PHP_MODULE=$(ls /usr/lib/apache2/modules/libphp*.so | tail -n 1)
[ "$HOST" != 0.0.0.0 ] || HOST='*' # everywhere is not IPv4 alone
export APP RUN HOST PORT PHP_MODULE
mkdir -p data run

# Started by root it becomes www-data before it begins: httpd would only half do so, and what it writes must be its own.
as_user=
if [ "$(id -u)" = 0 ]; then
  chown -R www-data:www-data data run
  as_user="setpriv --reuid=www-data --regid=www-data --init-groups"
  $as_user test -r "$APP/public/index.php" || {
    echo "cannot start: www-data, which root becomes, cannot read $APP; run this as another user, or put it elsewhere" >&2
    exit 1
  }
fi

# A session of its own: httpd takes WINCH, which a terminal sends when its size changes, for the wish to stop gracefully.
# Which is what TERM is to mean here; httpd itself would cut what is in flight.
setsid $as_user /usr/sbin/apache2 -f "$APP/httpd.conf" -D FOREGROUND &
httpd=$!
trap 'kill -s WINCH $httpd 2>/dev/null' TERM INT HUP
while
  code=0
  wait $httpd || code=$?
  kill -0 $httpd 2>/dev/null
do :; done
exit $code
