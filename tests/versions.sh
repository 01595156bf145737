#!/bin/sh
# The tests with every Python that is supported and found here, and with the oldest versions that pyproject.toml allows.
#
#     sh tests/versions.sh ["3.12 oldest" [PYTEST ARGUMENTS]]
#
# Each has a virtual environment of its own in .venvs/, 2.9 GB, which is kept; a Python that is not there is skipped and
# said. Pythons are looked for on the path and among pyenv's.
cd "$(dirname "$0")/.." || exit 1
versions=${1:-3.11 3.12 3.13 oldest}
[ $# -gt 0 ] && shift

find_python() { # its number, such as 3.12
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
    # pyenv leaves commands on the path that only say that they are of another version
    if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      echo "$candidate"
      return
    fi
  done
}

said="" failed=0 ran=0
for version in $versions; do
  case $version in
    oldest) number=3.11 requirements=requirements-oldest.txt keras_2="" ;;
    *) number=$version requirements=requirements-test.txt keras_2=tf_keras ;;
  esac
  python=$(find_python "$number")
  if [ -z "$python" ]; then
    said="$said\n$version: skipped, there is no Python $number"
    continue
  fi
  here=.venvs/$version
  echo "== $version: $("$python" --version), $requirements"
  result="not installed" ran=1
  if { [ -x "$here/bin/python" ] || "$python" -m venv "$here"; } &&
    "$here/bin/python" -m pip install --disable-pip-version-check -q -r "$requirements" &&
    { [ -z "$keras_2" ] || "$here/bin/python" -m pip install -q -c constraints.txt --no-deps $keras_2; }; then
    "$here/bin/python" -m pytest -p no:cacheprovider "$@" | tee "$here/tests.log"
    result=$(tail -n 1 "$here/tests.log")
  fi
  case $result in
    *failed* | *error* | *"not installed"* | *"no tests ran"*) failed=1 ;;
    *passed*) ;;
    *) failed=1 ;;
  esac
  said="$said\n$version: $result"
done
printf '%b\n' "$said"
[ $ran = 1 ] || echo "error: none of these Pythons is here: $versions"
exit $((failed || !ran))
