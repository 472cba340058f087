#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The series as commits in build/linux, and back.

Edit a file either in build/linux (commit there, then "make refresh") or in the project's own
copy (then "make tree"); neither overwrites edits of the other.

assemble SOURCE  pristine 6.12.y, patches/base and patches/series -> build/linux
refresh          the commits of build/linux -> patches and whole files
check SOURCE...  does everything apply to these 6.12.y?
export           build/series/ for git am, proven by git am
list             the project's files that the series adds

Commits are made with a temporary index, and the working tree moves once, so only files that
differ are written and kernel builds stay warm. Dates are fixed: the same input gives the same
commit ids. All state is in refs/p2pdma/: "pristine", the untouched kernel, and one in pristines/
for each source; "assembled", the last result, beyond which everything was edited there;
"inputs", the files that it was made of; "moving", while the working tree is on its way there;
"saved/TIME", the edits that "make tree FORCE=1" replaced.
"""

import contextlib
import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from types import SimpleNamespace

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/"
BUILD = os.path.abspath(os.environ.get("BUILD") or TOP + "build")
LINUX = BUILD + "/linux"
PRISTINE, ASSEMBLED, INPUTS, MOVING = (
    "refs/p2pdma/" + x for x in ("pristine", "assembled", "inputs", "moving"))
NOTHING = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's empty tree
RELEASED = 1731881700  # when 6.12 came out; the dates of the commits start here
NEUTRAL = ("p2pdma", "p2pdma@localhost")
# Where a series file and its patches are, and below which directory its whole files.
GROUPS = {"patches/base/": "patches/base/files/", "patches/": ""}


class Stop(Exception):
    """An error to show to the user, without a traceback."""


def run(*cmd, stdin=None, at=TOP, env=None, check=True):
    p = subprocess.run(cmd, input=stdin, cwd=at, env=env, encoding="utf-8", check=False,
                       errors="surrogateescape", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and p.returncode:
        raise Stop(p.stderr.strip() or "%s failed" % " ".join(cmd))
    return p.stdout.rstrip("\n")


def people(who):
    return {"GIT_%s_%s" % (a, b): who[b == "EMAIL"]
            for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}


# Nobody's configuration may change what is made here, except for the identity.
ENV = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
WHO = tuple(run("git", "config", "user." + x, check=False, env=ENV) for x in ("name", "email"))
WHO = WHO if all(WHO) else NEUTRAL
ENV.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull, **people(WHO))


def git(*args, at=LINUX, stdin=None, check=True, **env):
    return run("git", "-c", "safe.directory=*", "-c", "core.quotePath=false", *args,
               stdin=stdin, at=at, check=check, env={**ENV, **env})


def names(output):
    return [x for x in output.split("\0") if x]


def differing(a, b):
    return names(git("diff", "--name-only", "--no-renames", "-z", a, b))


def dirty():
    return [x[3:] for x in names(git("status", "--porcelain", "-z", "--no-renames", "-uall"))]


def ref(name):
    return git("rev-parse", "-q", "--verify", name + "^{commit}", check=False)


def commit(tree, parent, message, when, who=WHO):
    return git("commit-tree", tree, *parent, stdin=message, GIT_AUTHOR_DATE="%d +0000" % when,
               GIT_COMMITTER_DATE="%d +0000" % when, **people(who))


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as f:
        f.write(text)


def listing(paths):
    return "".join("\n    " + p for p in sorted(paths))


@contextlib.contextmanager
def index(work):
    """git with an index of its own and any working tree, on the objects of build/linux."""
    os.makedirs(work, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="index-", dir=BUILD) as d:
        yield functools.partial(git, at=work, GIT_DIR=LINUX + "/.git", GIT_WORK_TREE=work,
                                GIT_INDEX_FILE=d + "/index")


@contextlib.contextmanager
def worktree(start, tip=None):
    """A working tree at start; with a tip, of only the files that the commits up to it touch."""
    where = BUILD + "/scratch/"
    shutil.rmtree(where, ignore_errors=True)
    git("worktree", "prune")
    git("worktree", "add", "-q", "--no-checkout", "--detach", where, start)
    try:
        if tip:
            touched = git("log", "--format=", "--name-only", "--no-renames", PRISTINE + ".." + tip)
            git("sparse-checkout", "set", "--no-cone", "--stdin", at=where,
                stdin="".join("/%s\n" % f for f in set(touched.split("\n"))))
        git("checkout", "-q", at=where)
        yield where
    finally:
        git("worktree", "remove", "--force", where, check=False)


# --- patches/series: "NNNN-a.patch|NNNN-b.patch -removed file directory !exception" ---

def parse(top, group):
    """A series file: what precedes the entries, the entries, what follows them."""
    header, comments, entries = "", "", []
    for line in read(top + group + "series").replace("\\\n", " ").splitlines(True):
        patches, *words = line.split("#")[0].split() or [""]
        if not patches:
            comments += line
            continue
        if not entries:
            header, comments = comments, ""
        e = SimpleNamespace(group=group, names=patches.split("|"), comments=comments,
                            removes=[w[1:] for w in words if w[0] == "-"],
                            words=[w for w in words if w[0] != "-"])
        for x in [group + n for n in e.names] + [GROUPS[group] + w for w in e.words if w[0] != "!"]:
            if not os.path.lexists(top + x):
                raise Stop("%sseries names %s, which is missing" % (group, x))
        e.patches = [read(top + group + n) for n in e.names]
        mail = re.search(r"(?ms)^Subject: (?:\[PATCH[^]]*\] )?(.*?)\n\n(.*?)(?:^---$|^diff |\Z)",
                         e.patches[0])
        if not mail:
            raise Stop("%s%s has no Subject: line and message" % (group, e.names[0]))
        e.subject, e.body = mail[1].replace("\n ", " "), mail[2].strip("\n")
        entries.append(e)
        comments, e.used = "", e.names[0]
    return header, entries, comments


def parse_all(top=TOP):
    return [e for group in GROUPS for e in parse(top, group)[1]]


def files(top, group, words):
    """The whole files that words name. A directory stands for what .gitignore leaves of it."""
    with index(top + GROUPS[group]) as ix:
        return names(ix("ls-files", "-oz", "--exclude-per-directory=.gitignore", "--",
                        *(w.replace("!", ":!", 1) for w in words))) if words else []


def inputs(ix, top, pristine):
    """Everything that the commits are made of, as a commit."""
    paths = [group + "series" for group in GROUPS]
    for e in parse_all(top):
        paths += [e.group + n for n in e.names]
        paths += [GROUPS[e.group] + f for f in files(top, e.group, e.words)]
    ix("update-index", "--add", "-z", "--stdin", stdin="\0".join(paths))
    return commit(ix("write-tree"), (), "%s\n%s <%s>\n" % (pristine, *WHO), RELEASED, NEUTRAL)


# --- making the commits ---

def apply(ix, top, e):
    """Apply the first of the alternatives that fits. One line of context has to."""
    errors = ""
    for e.used in e.names:
        patch = top + e.group + e.used
        try:
            return ix("apply", "--cached", "--allow-empty", "-C1", "--whitespace=nowarn", patch)
        except Stop as stop:
            errors += "%s%s does not apply; correct these hunks:\n%s\n" % (e.group, e.used, stop)
        # Apply to copies of just those files, to show what does not fit.
        with tempfile.TemporaryDirectory(dir=BUILD) as d:
            at = functools.partial(ix, at=d, GIT_WORK_TREE=d, check=False)
            at("checkout-index", "--", *re.findall(r"(?m)^--- a/(\S+)$", read(patch)))
            at("apply", "--reject", "-C1", patch)
            errors += "".join(read(f) for f in glob.glob(d + "/**/*.rej", recursive=True))
    raise Stop(errors.rstrip())


def assemble(top, pristine, entries):
    when, tip = int(git("show", "-s", "--format=%ct", pristine)), pristine
    with index(top) as ix:
        ix("read-tree", pristine)
        for n, e in enumerate(entries, 1):
            apply(ix, top, e)
            if e.removes:
                ix("rm", "-q", "-f", "--cached", "--", *e.removes)
            root = top + GROUPS[e.group]
            ix("update-index", "--add", "-z", "--stdin", at=root, GIT_WORK_TREE=root,
               stdin="\0".join(files(top, e.group, e.words)))
            text = git("interpret-trailers", "--no-divider", "--trailer",
                       "Signed-off-by: %s <%s>" % WHO, stdin="%s\n\n%s\n" % (e.subject, e.body))
            tip = commit(ix("write-tree"), ("-p", tip), text, when + 60 * n)
    return tip


def unpack(source, where):
    """Unpack or copy a kernel. Returns its version."""
    os.makedirs(where, exist_ok=True)
    if os.path.isfile(source):
        run("tar", "-xf", source, "-C", where, "--strip-components=1", "--no-same-owner")
    else:
        of_git = os.path.exists(source + "/.git")
        if not of_git and os.path.exists(source + "/.config"):
            raise Stop("LINUX=%s has been built in; run 'make mrproper' there" % source)
        run("bash", "-c", ("git ls-files -z" if of_git else "find . ! -type d -print0") +
            " | tar -c --null --no-recursion --ignore-failed-read -T - | tar -x -C \"$0\"",
            where, at=source)
    if not os.path.exists(where + "/Makefile"):
        raise Stop("LINUX=%s is not a Linux source tree" % source)
    make = dict(re.findall(r"(?m)^([A-Z]+) *= *(\S*)$", read(where + "/Makefile")))
    version = ".".join(make.get(x, "?") for x in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    version += make.get("EXTRAVERSION", "")
    if not re.match(r"6\.12\.\d+(?!.*-rc)", version):
        raise Stop("LINUX=%s is Linux %s; the series is for 6.12.y" % (source, version))
    return version


def import_source(source):
    """The pristine commit of a directory or a tarball; the same one is read only once."""
    source = os.path.realpath(source)
    if not os.path.exists(source):
        raise Stop("LINUX=%s: there is no such file or directory" % source)
    stamps = run("find", source, "-name", ".git", "-prune", "-o", "-printf", "%P %s %T@\n")
    name = "refs/p2pdma/pristines/" + hashlib.sha1(
        (source + stamps).encode(errors="surrogateescape")).hexdigest()
    init()
    if ref(name):
        return ref(name)
    print("  reading " + source, flush=True)
    # The first one is unpacked where it is to be, which saves writing it twice.
    first = not ref("HEAD")
    where = LINUX if first else BUILD + "/import"
    run("rm", "-rf", where)
    init()
    try:
        version = unpack(source, where)
        # Debian's .gitignore has git ignore every new file. Edits must be seen.
        run("sed", "-i", "-E", "/^(\\/\\*|!\\/debian\\/)$/d", where + "/.gitignore")
        with index(where) as ix:
            # Such a threshold has git write one pack instead of 80,000 loose objects.
            (git if first else ix)("-c", "core.bigFileThreshold=1", "add", "-A", "-f", ".")
            tree = (git if first else ix)("write-tree")
    finally:
        run("rm", "-rf", BUILD + "/import")
    git("update-ref", name, commit(tree, (), "Linux %s\n" % version,
                                   RELEASED + 86400 * int(re.split("[.-]", version)[2]), NEUTRAL))
    return ref(name)


def init():
    if os.path.isdir(LINUX + "/.git"):
        return
    if os.path.isdir(LINUX) and os.listdir(LINUX):
        raise Stop("%s exists and is not a git tree; move it away" % LINUX)
    git("init", "-q", "-b", "p2pdma", LINUX, at=TOP)
    for k, v in (("gc.auto", "0"), ("maintenance.auto", "false"), ("core.compression", "1"),
                 ("core.fsync", "none"), ("index.version", "4"), ("core.autocrlf", "false"),
                 *(zip(("user.name", "user.email"), WHO) if WHO is NEUTRAL else ())):
        git("config", k, v)


def move(tip, pristine, made_of):
    """Make the working tree that of tip; MOVING tells the next run if it did not get there."""
    git("update-ref", MOVING, tip)
    git("checkout", "-q", "-f", "-B", "p2pdma", tip)
    git("update-ref", "--stdin", stdin="".join("update %s %s\n" % x for x in (
        (ASSEMBLED, tip), (PRISTINE, pristine), (INPUTS, made_of))) + "delete %s\n" % MOVING)


def save_edits(base):
    """Everything in build/linux beyond base: as a commit on a ref, and as a patch."""
    when = time.strftime("%Y%m%d-%H%M%S")
    path = "%s/saved/%s.patch" % (BUILD, when)
    git("add", "-A")
    git("checkout", "-q", "--detach")
    git("commit", "-q", "--no-verify", "--allow-empty", "-m", "Saved before make tree FORCE=1")
    git("update-ref", "refs/p2pdma/saved/" + when, "HEAD")
    os.makedirs(BUILD + "/saved", exist_ok=True)
    git("diff", "--binary", "--no-renames", "--output=" + path, base, "HEAD")
    print("  saved the edits in build/linux: refs/p2pdma/saved/%s and %s" % (when, path))


def cmd_assemble(source):
    force, entries, tip = os.environ.get("FORCE") == "1", parse_all(), None
    pristine = import_source(source)
    with index(TOP) as ix:
        now, last = inputs(ix, TOP, pristine), ref(INPUTS) or NOTHING
    if ref(MOVING):
        # Whatever differs now is half of an interrupted move and nobody's edit.
        tip = assemble(TOP, pristine, entries)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(LINUX + "/.git/index.lock")
        move(tip, pristine, now)
    head, old = ref("HEAD"), ref(ASSEMBLED) or pristine
    edits = dirty() + differing(old, head) if head else []
    edited = head and (edits or head != old)
    changed = differing(last, now)
    if ref(PRISTINE) != pristine:
        changed.append("(another kernel: %s)" % source)
    if edited and not changed and not force:
        print("  build/linux has edits; the project did not change: left alone")
        return
    if not edited and last == now:
        print("  build/linux is up to date (%d commits)" % len(entries))
        return
    tip = tip or assemble(TOP, pristine, entries)
    if edited and (dirty() or differing(head, tip)):
        if not force:
            raise Stop("both sides changed since build/linux was assembled.\n"
                       "  In build/linux:%s\n  In the project:%s\n"
                       "Run 'make refresh' to write the edits back first, or 'make tree FORCE=1'\n"
                       "to start anew (which saves the edits under build/saved/)."
                       % (listing(edits), listing(changed)))
        save_edits(old)
    move(tip, pristine, now)
    print("  build/linux: %s and %d commits" % (git("show", "-s", "--format=%s", pristine),
                                                len(entries)))


def cmd_check(source):
    entries, pristine = parse_all(), import_source(source)
    assemble(TOP, pristine, entries)
    print("  %s: %s: all apply" % (source, git("show", "-s", "--format=%s", pristine)),
          *("with " + e.used for e in entries if e.used != e.names[0]))


def cmd_list():
    print("\n".join(f for e in parse(TOP, "patches/")[1] for f in files(TOP, e.group, e.words)))


# --- refresh: the way back ---

def squashed(pristine, head):
    """head, with fixups where they belong."""
    if git("merge-base", pristine, head, check=False) != pristine:
        raise Stop("HEAD of build/linux does not descend from the pristine kernel")
    by_hand = "squash in build/linux: git rebase -i --autosquash " + PRISTINE
    with worktree(head, head) as where:
        try:
            git("rebase", "-q", "-i", "--autosquash", pristine, at=where,
                GIT_SEQUENCE_EDITOR=":", GIT_EDITOR=":")
        except Stop as stop:
            raise Stop("fixups conflict; %s\n%s" % (by_hand, stop)) from None
        tip = git("rev-parse", "HEAD", at=where)
    if differing(head, tip):
        raise Stop("squashing the fixups changed the result; " + by_hand)
    return tip


def history(pristine, tip):
    """The commits beyond pristine, without the sign-off that assembling adds."""
    found = []
    log = git("log", "--reverse", "--format=%H%x00%an <%ae>%x00%s%x00%f%x00%b%x01",
              pristine + ".." + tip)
    for c in log.split("\x01")[:-1]:
        oid, author, subject, slug, body = c.strip("\n").split("\0")
        signed = "|".join(map(re.escape, (author, "%s <%s>" % WHO)))
        body = re.sub(r"(^|\n+)Signed-off-by: (%s)\s*\Z" % signed, "", body).strip("\n")
        status = names(git("diff-tree", "-r", "-z", "--no-renames", "--name-status",
                           oid + "^", oid))
        found.append(SimpleNamespace(id=oid, subject=subject, slug=slug[:52].rstrip("-."),
                                     body=body, entry=None,
                                     status=dict(zip(status[1::2], status[::2]))))
    for c in found:
        if re.match("(fixup|squash|amend)! ", c.subject):
            raise Stop("build/linux has no earlier commit for '%s'" % c.subject)
    return found


def match(commits, entries, ranges):
    """Give every commit its entry: the one that was most alike."""
    alike = git("range-diff", "-s", "--no-color", "--creation-factor=90", *ranges)
    for a, b in re.findall(r"(?m)^ *(\d+): +\w+ . +(\d+): ", alike):
        e, c = entries[int(a) - 1], commits[int(b) - 1]
        c.entry = e
        if e.subject != c.subject:
            print("  '%s' is now '%s'" % (e.subject, c.subject))
    for n in re.findall(r"(?m)^ *(\d+): +\w+ < ", alike):
        print("  dropped: " + entries[int(n) - 1].names[0])


def patch_text(c, group, whole):
    """A commit as a patch. Little context: it has to fit every 6.12.y."""
    diff = git("diff", "-U2" if group == "patches/" else "-U1", "--no-renames", "--diff-filter=d",
               "--diff-algorithm=histogram", c.id + "^", c.id, "--", ".",
               *(":(exclude,literal)" + f for f in sorted(whole)))
    diff = re.sub(r"(?m)^index [0-9a-f]+\.\.[0-9a-f]+(?: \d+)?\n?(?=--- |diff |\Z)", "", diff)
    return "Subject: [PATCH] %s\n\n%s---\n%s" % (c.subject, c.body and c.body + "\n",
                                                 diff and "\n" + diff + "\n")


def write_files(top, group, chain, entries):
    """Bring the whole files of a group up to date; every commit gets its words for them."""
    root, named = top + GROUPS[group], set()
    before = {f for e in entries for f in files(top, group, e.words)}
    whole = {f for c in chain if c.entry for f in files(top, group, c.entry.words)}
    whole |= {f for c in chain for f in c.status if c.status[f] == "A"}
    have = set(names(git("ls-tree", "-r", "-z", "--name-only", chain[-1].id))) if chain else set()
    for f in before - (whole & have):
        os.unlink(root + f)
    if whole & have:
        with index(root) as ix:
            ix("checkout", chain[-1].id, "--", *(whole & have))
    for c in chain:
        # A file that another commit now adds goes there.
        c.words = [w for w in (c.entry.words if c.entry else []) if w[0] == "!" or
                   os.path.isdir(root + w) or os.path.lexists(root + w) and
                   (w in c.status or not any(w in x.status for x in chain))]
        named.update(files(top, group, c.words))
    for c in chain:
        more = sorted(f for f in set(c.status) & whole & have if f not in named)
        named.update(more)
        c.words += more
    return whole


def write_group(top, group, chain):
    """Make the patches, whole files and series file of a group those of a chain of commits."""
    text, entries, tail = parse(top, group)
    whole, number = write_files(top, group, chain, entries), 0
    for n in [n for e in entries for n in e.names]:
        os.unlink(top + group + n)
    for c in chain:
        e, patch = c.entry, patch_text(c, group, whole)
        removes = [f for f in c.status if c.status[f] == "D" and f not in whole]
        if not e and not c.words and not removes and patch.endswith("---\n"):
            print("  '%s' only changes files of other commits: goes into those" % c.subject)
            continue
        number += 1
        new = ["%04d-%s.patch" % (number, c.slug)]
        new += ["%04d%s" % (number, n[4:]) for n in e.names[1:]] if e else []
        same = e and patch == patch_text(e.commit, group, whole)
        for i, n in enumerate(new):
            write(top + group + n, e.patches[i] if same or e and e.names[i] != e.used else patch)
        if new[1:] and not same:
            print("  %s changed; its alternatives may need the same change" % e.used)
        line = " ".join(["|".join(new)] + ["-" + f for f in removes] + c.words)
        line = textwrap.fill(line, 98, subsequent_indent="\t", break_on_hyphens=False,
                             break_long_words=False).replace("\n", " \\\n") + "\n"
        text += (e.comments if e else "") + line
    write(top + group + "series", text + tail)


def cmd_refresh():
    if not os.path.isdir(LINUX + "/.git") or not ref(INPUTS) or ref(MOVING):
        raise Stop("build/linux was not made by 'make tree', or not completely; run that first")
    pristine, old, head, last = ref(PRISTINE), ref(ASSEMBLED), ref("HEAD"), ref(INPUTS)
    if dirty():
        raise Stop("build/linux has uncommitted changes:%s\nCommit them there: as a new commit, "
                   "or for an existing one with\n    git commit -a --fixup <commit>\n"
                   "(fixups are squashed into their commit)" % listing(dirty()))
    if head == old:
        print("  build/linux has no edits")
        return
    tip = squashed(pristine, head)
    commits = history(pristine, tip)
    # In a copy of what build/linux was made of, so the project stays as it is until all is well.
    with worktree(last) as top, index(top) as ix:
        entries = parse_all(top)
        assemble(top, pristine, entries)  # finds which alternatives apply
        for e, e.commit in zip(entries, history(pristine, old)):
            pass
        match(commits, entries, (pristine + ".." + old, pristine + ".." + tip))
        base = [i for i, c in enumerate(commits, 1) if c.entry and c.entry.group != "patches/"]
        n = max(base, default=0)
        for group, chain in zip(GROUPS, (commits[:n], commits[n:])):
            write_group(top, group, chain)
        new, after = assemble(top, pristine, parse_all(top)), inputs(ix, top, pristine)
    if differing(tip, new):
        raise Stop("the patches do not give the same tree, so nothing is written:%s"
                   % listing(differing(tip, new)))
    with index(TOP) as ix:
        now = inputs(ix, TOP, pristine)
        changed = set(differing(last, now))
        clash = changed & set(differing(last, after)) & set(differing(now, after))
        if clash:
            raise Stop("changed in build/linux and in the project:%s\nPut the project's version "
                       "back (or copy it into build/linux and commit), then refresh again;\nor "
                       "give up the edits in build/linux: 'make tree FORCE=1' (saves them)."
                       % listing(clash))
        # Writes what differs, and refuses to overwrite a file that it does not know.
        ix("read-tree", "-m", "-u", last, after)
    print(textwrap.indent(git("diff", "--no-renames", "--name-status", last, after), "  "))
    move(new, pristine, after)
    if changed:
        with index(TOP) as ix:
            move(assemble(TOP, pristine, parse_all()), pristine, inputs(ix, TOP, pristine))


def cmd_export():
    old, where = ref(ASSEMBLED), BUILD + "/series"
    if WHO is NEUTRAL:
        raise Stop("the patches carry the name of the one who sends them; set it:\n"
                   "    git config --global user.name 'Your Name'\n"
                   "    git config --global user.email you@example.org")
    if ref("HEAD") != old or dirty():
        raise Stop("build/linux has edits that the project does not: run 'make refresh' first")
    shutil.rmtree(where, ignore_errors=True)
    cover = read(TOP + "patches/cover-letter.txt").replace("Subject: ", "", 1)
    git("-c", "branch.p2pdma.description=" + cover, "format-patch", "-q", "-n", "--cover-letter",
        "--cover-from-description=subject", "--no-signature", "--no-renames", "-o", where,
        PRISTINE + "..p2pdma")
    patches = sorted(glob.glob(where + "/*.patch"))[1:]
    with worktree(PRISTINE, old) as tree:
        git("am", "-q", *patches, at=tree)
        if differing(old, git("rev-parse", "HEAD", at=tree)):
            raise Stop("git am arrives at another tree than build/linux")
    print("  %s: a cover letter and %d patches; git am gives the same tree" % (where, len(patches)))


if __name__ == "__main__":
    commands = {k[4:]: v for k, v in globals().items() if k.startswith("cmd_")}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    try:
        commands[sys.argv[1]](*sys.argv[2:])
    except Stop as error:
        sys.exit("error: %s" % error)
    except KeyboardInterrupt:
        sys.exit(130)
