#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests scripts/tree.py with a kernel of a few files and a series of a few patches, from assembling
# through edits on either side and back. Prints one line for each failure.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
top=$tmp/top linux=$tmp/build/linux rc=0
export BUILD=$tmp/build HOME=$tmp GIT_CONFIG_NOSYSTEM=1
unset FORCE LINUX "${!GIT_AUTHOR_@}" "${!GIT_COMMITTER_@}"

tree() { (cd "$top" && scripts/tree.py "$@") >"$tmp/log" 2>&1; }
make_tree() { tree assemble "$tmp/kernel.tar.gz"; }
says() { grep -q -- "$1" "$tmp/log"; }
fails() { ! "$@"; }
id() { git -C "$linux" rev-parse refs/p2pdma/assembled; }

# expect TEXT CMD...: what holds, and the command that shows it.
expect() {
	"${@:2}" >>"$tmp/log" 2>&1 && return
	printf 'tree-test: not so: %s (%s)\n' "$1" "$(tail -n 3 "$tmp/log" | tr '\n' ' ')"
	rc=1
}

# in_linux FILE LINE [COMMIT OPTION...]: append a line there and commit it.
in_linux() {
	mkdir -p "$(dirname "$linux/$1")"
	printf '%s\n' "$2" >>"$linux/$1"
	git -C "$linux" add -A
	[[ -z ${3:-} ]] || git -C "$linux" commit -q "${@:3}"
}

# patch SUBJECT LINE TEXT: a patch that turns a line of the file "code" into the text.
patch() {
	printf 'Subject: [PATCH] %s\n\nWhy.\n---\n\ndiff --git a/code b/code\n--- a/code\n+++ b/code\n' "$1"
	printf '@@ -%d,3 +%d,3 @@\n %d\n-%s\n+%s\n %d\n' $(($2 - 1)) $(($2 - 1)) $(($2 - 1)) "${4:-$2}" "$3" $(($2 + 1))
}

git config --global user.name Tester
git config --global user.email tester@example.org
mkdir -p "$top"/{scripts,patches/base/files,new/dir/sub,new/dir/out} "$tmp/kernel" "$BUILD"
cp "$here/tree.py" "$top/scripts"
cd "$tmp/kernel"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\nEXTRAVERSION =\n' >Makefile
printf '/*\n!/debian/\n*.o\n' | tee .gitignore >stock
seq 40 >code
tar -C "$tmp" -czf "$tmp/kernel.tar.gz" kernel
cd "$top"
patch 'take it out' 6 six other >patches/base/0001-take-it-out.patch
patch 'take it out' 6 six >patches/base/0001-take-it-out.alt.patch
patch first 16 sixteen >patches/0001-first.patch
patch second 26 twentysix >patches/0002-second.patch
printf '# Head.\n0001-take-it-out.patch|0001-take-it-out.alt.patch -stock\n' >patches/base/series
printf '# Head.\n\n0001-first.patch new/file\n# About the second.\n0002-second.patch new/dir \\\n\t!new/dir/out\n' >patches/series
printf 'Subject: All of it\n\nBlurb.\n' >patches/cover-letter.txt
printf '*.o\n' >.gitignore
printf 'a\nb\n' | tee new/file new/dir/b new/dir/sub/c new/dir/sub/c.o >new/dir/out/d
chmod +x new/dir/b

expect "assembles" make_tree
expect "alternative" grep -qx six "$linux/code"
expect "removal" fails test -e "$linux/stock"
expect "directory" test "$(cd "$linux" && find new -type f | sort | xargs)" = "new/dir/b new/dir/sub/c new/file"
expect "mode, sign-off" grep -q 'Signed-off-by: Tester <t' <(test -x "$linux/new/dir/b" && git -C "$linux" log -1)
expect "nothing to do" make_tree && expect "says so" says "up to date"
expect "list" tree list && expect "list has files" says new/dir/sub/c
first=$(id) inode=$(stat -c %i "$linux/Makefile")
echo c >>new/file
expect "project's edit" make_tree && expect "arrives" grep -q c "$linux/new/file"
expect "same file stays" test "$inode" = "$(stat -c %i "$linux/Makefile")"
sed -i '$d' new/file
expect "and back" make_tree && expect "same ids" test "$first" = "$(id)"
git -C "$linux" update-ref refs/p2pdma/moving HEAD && echo half >"$linux/code"
expect "interrupted" make_tree && expect "is finished" fails grep -q half "$linux/code"

in_linux code more
expect "build/linux edited" make_tree && expect "left alone" says "left alone"
expect "uncommitted" fails tree refresh && expect "says how" says fixup
echo d >>new/file
expect "both" fails make_tree && expect "names theirs" says code && expect "names ours" says new/file
FORCE=1 expect "force" make_tree && expect "starts anew" fails grep -q more "$linux/code"
expect "saved" grep -q '^+more' "$tmp"/build/saved/*.patch

in_linux new/file e --fixup :/first
in_linux code fixed --fixup :/second
in_linux new/dir/sub/f f -m third
in_linux new/other o --amend --no-edit
echo x >>new/file
expect "both edit a file" fails tree refresh && expect "names it" says new/file
sed -i '$d' new/file && echo g >>new/dir/b
expect "refresh" tree refresh
expect "fixup in whole file" grep -q e new/file && expect "in patch" grep -q '^+fixed' patches/0002-second.patch
expect "new commit" grep -q '^0003-third.patch new/other$' patches/series
expect "new file of a directory" test -f new/dir/sub/f
expect "comments stay" grep -q '^# About' patches/series
expect "no whole files in patch" fails grep -q new/ patches/0003-third.patch
expect "project's edit stays" grep -q g "$linux/new/dir/b"
expect "then nothing to do" make_tree && expect "says so then" says "up to date"

git -C "$linux" rebase -q --onto HEAD~2 HEAD~1
in_linux code x --amend -m renamed
sed -i 's/^2$/two/' "$linux/code"
in_linux stock2 x --fixup ':/^take'
expect "refresh again" tree refresh && expect "warns of alternatives" says "alternatives may need"
expect "reworded" test -f patches/0002-renamed.patch && expect "dropped" fails test -e new/dir/b
expect "whole file of base" test -f patches/base/files/stock2
in_linux code y -m 'fixup! nothing'
expect "lost fixup" fails tree refresh && git -C "$linux" reset -q --hard HEAD~1

expect "export" tree export && expect "git am" says "same tree"
expect "cover letter" grep -q 'Subject: .* All of it' "$tmp"/build/series/0000*
sed -i 's/^-16/-17/' patches/0001-first.patch
expect "broken patch" fails make_tree && expect "shows the hunk" says "^ *-17"
expect "check" fails tree check "$tmp/kernel.tar.gz"
sed -i 's/= 12/= 11/' "$tmp/kernel/Makefile"
expect "6.11" fails tree assemble "$tmp/kernel" && expect "says why" says "the series is for 6.12.y"
exit $rc
