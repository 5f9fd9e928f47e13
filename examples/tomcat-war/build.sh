#!/bin/sh
# Makes webapps/ROOT.war, if anything of it is newer: a new WAR has its pages compiled anew.
set -eu
mkdir -p webapps logs temp work
if [ -e webapps/ROOT.war ] && [ -z "$(find src web -newer webapps/ROOT.war)" ]; then
  echo "webapps/ROOT.war is up to date"
  exit
fi
echo "making webapps/ROOT.war"
rm -rf build
mkdir build
cp -R web/. build
javac -d build/WEB-INF/classes src/moon/Phase.java
jar --create --file webapps/ROOT.war.new -C build .
mv webapps/ROOT.war.new webapps/ROOT.war
