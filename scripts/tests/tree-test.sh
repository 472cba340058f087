#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests scripts/tree.py, from a kernel of a few files and a series of a few
# patches through edits on either side and back. One line for each failure.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
top=$tmp/top linux=$tmp/build/linux failures=0
export BUILD=$tmp/build HOME=$tmp GIT_CONFIG_NOSYSTEM=1
unset FORCE LINUX "${!GIT_AUTHOR_@}" "${!GIT_COMMITTER_@}"

tree() {
	(cd "$top" && scripts/tree.py "$@") >"$tmp/log" 2>&1
}

make_tree() {
	tree assemble "$tmp/kernel.tar.gz"
}

# expect TEXT CMD...: what holds, and the command that shows it.
expect() {
	local text=$1
	shift
	"$@" >>"$tmp/log" 2>&1 || {
		printf 'tree-test: not so: %s (%s)\n' "$text" "$(tail -n 3 "$tmp/log" | tr '\n' ' ')"
		failures=$((failures + 1))
	}
}

fails() {
	! "$@"
}

says() {
	grep -q -- "$1" "$tmp/log"
}

# in_linux FILE LINE [COMMIT OPTIONS]: append a line there and commit it.
in_linux() {
	mkdir -p "$(dirname "$linux/$1")"
	printf '%s\n' "$2" >>"$linux/$1"
	git -C "$linux" add -A
	[[ -z ${3:-} ]] || git -C "$linux" commit -q "${@:3}"
}

id() {
	git -C "$linux" rev-parse refs/p2pdma/assembled
}

# patch NAME FROM TO: a patch that turns a line of the file "code" into another.
patch() {
	printf 'Subject: [PATCH] %s\n\nWhy.\n---\n\ndiff --git a/code b/code\n--- a/code\n+++ b/code\n' \
		"$(basename "$1" .patch | sed 's/^[0-9]*-//; s/\.alt$//; s/-/ /g')"
	printf '@@ -%s,3 +%s,3 @@\n %s\n-%s\n+%s\n %s\n' "$2" "$2" "$2" "${3%/*}" "${3#*/}" "$(($2 + 2))"
}

git config --global user.name Tester
git config --global user.email tester@example.org
mkdir -p "$top"/{scripts,patches/base/files,new/dir/sub,new/dir/out} "$tmp/kernel" "$BUILD"
cp "$here"/tree.py "$top/scripts"
cd "$tmp/kernel"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\nEXTRAVERSION =\n' >Makefile
printf '/*\n!/debian/\n*.o\n' >.gitignore
seq 40 >code
touch stock
tar -C "$tmp" -czf "$tmp/kernel.tar.gz" kernel
cd "$top"
patch 0001-take-it-out 5 no/six >patches/base/0001-take-it-out.patch
patch 0001-take-it-out 5 6/six >patches/base/0001-take-it-out.alt.patch
patch 0001-first 15 16/sixteen >patches/0001-first.patch
patch 0002-second 25 26/twentysix >patches/0002-second.patch
printf '# Head.\n0001-take-it-out.patch|0001-take-it-out.alt.patch -stock\n' >patches/base/series
printf '# Head.\n\n0001-first.patch new/file\n# About the second.\n0002-second.patch new/dir \\\n\t!new/dir/out\n' \
	>patches/series
printf 'Subject: All of it\n\nBlurb.\n' >patches/cover-letter.txt
printf '*.o\n' >.gitignore
printf 'a\nb\n' | tee new/file new/dir/b new/dir/sub/c new/dir/sub/c.o >new/dir/out/d
chmod +x new/dir/b

expect "assembles" make_tree
expect "alternative" grep -qx six "$linux/code" && expect "removal" fails test -e "$linux/stock"
expect "directory without exception and ignored files" test \
	"$(cd "$linux" && find new -type f | sort | xargs)" = "new/dir/b new/dir/sub/c new/file"
expect "sign-off" grep -q 'Signed-off-by: Tester <t' <(git -C "$linux" log -1)
first=$(id) inode=$(stat -c %i "$linux/Makefile")
expect "nothing to do" make_tree && expect "says so" says "up to date"
expect "lists" tree list && expect "lists files" says new/dir/sub/c

echo c >>new/file
expect "project's edit" make_tree && expect "arrives" grep -q c "$linux/new/file"
expect "leaves other files alone" test "$inode" = "$(stat -c %i "$linux/Makefile")"
sed -i '$d' new/file
expect "and back" make_tree && expect "same ids" test "$first" = "$(id)"

in_linux code more
expect "edits in build/linux" make_tree && expect "left alone" says "left alone"
expect "uncommitted" fails tree refresh && expect "says how" says fixup
echo d >>new/file
expect "both" fails make_tree && expect "names both" says "code" && expect "both" says new/file
FORCE=1 expect "force" make_tree
expect "starts anew" fails grep -q more "$linux/code"
expect "saved" grep -q '^+more' "$tmp"/build/saved/*.patch

in_linux new/file e --fixup :/first
in_linux code fixed --fixup :/second
in_linux new/dir/sub/f f -m third
in_linux new/other o --amend --no-edit
echo g >>new/dir/b
expect "refresh" tree refresh
expect "fixup in whole file" grep -q e new/file
expect "fixup in patch" grep -q '^+fixed' patches/0002-second.patch
expect "new commit" grep -q '^0003-third.patch new/other$' patches/series
expect "new file in a listed directory" test -f new/dir/sub/f
expect "comments stay" grep -q '^# About' patches/series
expect "project's edit stays" grep -q g "$linux/new/dir/b"
expect "patch has no whole files" fails grep -q new/ patches/0003-third.patch
expect "then up to date" make_tree && expect "then" says "up to date"

git -C "$linux" rebase -q --onto HEAD~2 HEAD~1
in_linux code x --amend -m renamed
sed -i 's/^one$/1/; s/^2$/two/' "$linux/code"
in_linux stock2 x --fixup ':/^take'
expect "refresh of reword, drop, alternative" tree refresh
expect "warns of alternatives" says "alternatives may need"
expect "reworded" test -f patches/0002-renamed.patch
expect "dropped" fails test -e new/dir/b
expect "file of base" test -f patches/base/files/stock2

expect "export" tree export && expect "git am" says "same tree"
expect "cover letter" grep -q 'Subject: .* All of it' "$tmp"/build/series/0000*
sed -i 's/^-16/-17/' patches/0001-first.patch
expect "broken patch" fails make_tree && expect "shows the hunk" says "^ *-17"
expect "check" fails tree check "$tmp/kernel.tar.gz"
sed -i 's/= 12/= 11/' "$tmp/kernel/Makefile"
expect "6.11" fails tree assemble "$tmp/kernel" && expect "says so" says "the series is for 6.12.y"
((!failures)) || { printf 'tree-test: %d failures\n' "$failures" && exit 1; }
