#!/bin/sh
# Runs Tomcat in the foreground, on this directory as its base. Its only good end is by a signal, since it has no shutdown port;
# but when it cannot start, since its port is taken, it ends with 0, and whoever started it would believe that all is well.
CATALINA_BASE=$PWD /usr/share/tomcat10/bin/catalina.sh run &
tomcat=$!
trap 'kill -s TERM $tomcat 2>/dev/null' TERM INT HUP
while
  code=0
  wait $tomcat || code=$?
  kill -0 $tomcat 2>/dev/null
do :; done
[ $code != 0 ] || code=1
exit $code
