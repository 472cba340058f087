#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The series as commits, and back.

assemble  pristine 6.12.y + patches/base + patches/series -> build/linux
refresh   the commits of build/linux -> patches and project files
check     does everything apply to the given sources? (nothing checked out)
export    build/series/, for git am
list      the project's files that the series adds

build/linux is a git tree. refs/p2pdma/pristine is the untouched kernel,
refs/p2pdma/assembled what was last made out of the project; whatever HEAD or
the working tree have beyond that was edited there and is never thrown away.
Commits are made in the object store with a temporary index; the working tree
moves once, at the end, and only files that differ are written, so kernel
builds stay warm. Dates are fixed: the same input gives the same commit ids.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
LINUX = os.path.join(BUILD, "linux")
PATCHES = os.path.join(TOP, "patches")
STATE = os.path.join(LINUX, ".git", "p2pdma.json")
PRISTINE = "refs/p2pdma/pristine"
ASSEMBLED = "refs/p2pdma/assembled"
BRANCH = "p2pdma"
RELEASED = 1731881700  # when 6.12 came out; the dates of our commits start here
NEUTRAL = ("p2pdma", "p2pdma@localhost")


class Stop(Exception):
    """An error to show to the user, without a traceback."""


def say(text):
    print("  " + text, flush=True)


def run(cmd, stdin=None, env=None, check=True, text=True, cwd=None):
    full = dict(os.environ)
    full.update(env or {})
    p = subprocess.run(cmd, input=stdin, env=full, cwd=cwd, text=text,
                       encoding="utf-8" if text else None,
                       errors="surrogateescape" if text else None,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and p.returncode:
        err = p.stderr if text else p.stderr.decode(errors="replace")
        raise Stop("%s: %s" % (" ".join(cmd[:6]), err.strip()))
    return p


# Nobody's configuration may change what is made here.
GIT = ["git", "-c", "core.autocrlf=false", "-c", "core.fsync=none",
       "-c", "gc.auto=0", "-c", "advice.detachedHead=false",
       "-c", "core.quotePath=false", "-c", "diff.suppressBlankEmpty=false",
       "-c", "core.safecrlf=false", "-c", "commit.gpgsign=false"]


def git(*args, **kw):
    return run(GIT + ["-C", LINUX] + list(args), **kw)


def out(*args, **kw):
    return git(*args, **kw).stdout.strip()


def ref(name):
    p = git("rev-parse", "-q", "--verify", name + "^{commit}", check=False)
    return p.stdout.strip() or None


def tree_of(commit):
    return out("rev-parse", commit + "^{tree}")


def sha(data):
    if isinstance(data, str):
        data = data.encode(errors="surrogateescape")
    return hashlib.sha256(data).hexdigest()


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def write_if_changed(path, text):
    if os.path.exists(path) and read(path) == text:
        return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as f:
        f.write(text)
    return True


def identity(required=False):
    name = run(["git", "-C", TOP, "config", "user.name"], check=False).stdout.strip()
    mail = run(["git", "-C", TOP, "config", "user.email"], check=False).stdout.strip()
    if name and mail:
        return name, mail
    if required:
        raise Stop("the patches carry the name of the one who sends them; set it:\n"
                   "    git config --global user.name 'Your Name'\n"
                   "    git config --global user.email you@example.org")
    return NEUTRAL


# --- patches/series -------------------------------------------------------

class Entry:
    """One commit: a patch, files removed whole, files added whole."""

    def __init__(self, group, names, removes, files, comments=()):
        self.group = group
        self.names = names
        self.removes = removes
        self.files = files
        self.comments = list(comments)
        self.used = names[0]    # which alternative applied
        self.subject = None
        self.raw = None         # the text it was parsed from, and its meaning

    @property
    def dir(self):
        return GROUPS[self.group][0]

    @property
    def root(self):
        return GROUPS[self.group][1]

    def patch_path(self, name=None):
        return os.path.join(self.dir, name or self.used)

    def file_path(self, name):
        return os.path.join(self.root, name)

    def inputs(self):
        return ([self.patch_path(n) for n in self.names] +
                [self.file_path(f) for f in self.files])

    def line(self):
        """The text for the series file; that of an unchanged entry stays as it is."""
        words = ["|".join(self.names)] + ["-" + r for r in self.removes] + self.files
        if self.raw and self.raw[1] == words:
            return self.raw[0]
        lines, cur = [], words[0]
        for w in words[1:]:
            if len(cur) + 1 + len(w) > 78:
                lines.append(cur + " \\")
                cur = "\t" + w
            else:
                cur += " " + w
        lines.append(cur)
        return "\n".join(lines)


GROUPS = {
    "base": (os.path.join(PATCHES, "base"), os.path.join(PATCHES, "base", "files")),
    "series": (PATCHES, TOP),
}


def series_file(group):
    return os.path.join(GROUPS[group][0], "series")


def parse_series(group):
    """The entries of one series file, and the comments that follow the last."""
    path = series_file(group)
    entries, comments, cont, raw = [], [], "", []
    if not os.path.exists(path):
        raise Stop("%s is missing" % os.path.relpath(path, TOP))
    for no, line in enumerate(read(path).splitlines(), 1):
        if not cont and (not line.strip() or line.lstrip().startswith("#")):
            comments.append(line)
            continue
        raw.append(line)
        line = cont + line
        cont = ""
        if line.rstrip().endswith("\\"):
            cont = line.rstrip()[:-1] + " "
            continue
        words = line.split("#")[0].split()
        names = words[0].split("|")
        for n in names:
            if not n.endswith(".patch") or "/" in n:
                raise Stop("%s:%d: '%s' is not the name of a patch"
                           % (os.path.relpath(path, TOP), no, n))
        e = Entry(group, names, [w[1:] for w in words[1:] if w[0] == "-"],
                  [w for w in words[1:] if w[0] != "-"], comments)
        e.raw = ("\n".join(raw), ["|".join(names)] + ["-" + r for r in e.removes] + e.files)
        comments, raw = [], []
        for i in e.inputs():
            if not os.path.exists(i):
                raise Stop("%s:%d names %s, which is missing"
                           % (os.path.relpath(path, TOP), no, os.path.relpath(i, TOP)))
        entries.append(e)
    if cont:
        raise Stop("%s ends in a continued line" % os.path.relpath(path, TOP))
    return entries, comments


def all_entries():
    return parse_series("base")[0] + parse_series("series")[0]


def file_hash(path):
    if os.path.islink(path):
        return sha("link:" + os.readlink(path))
    with open(path, "rb") as f:
        return sha(f.read()) + ("x" if os.access(path, os.X_OK) else "")


def project_inputs(entries):
    """Relative path -> hash of everything that the commits are made of."""
    paths = [series_file(g) for g in GROUPS]
    for e in entries:
        paths += e.inputs()
    return {os.path.relpath(p, TOP): file_hash(p) for p in paths}


def split_patch(path):
    """(subject, body, diff) of a patch file."""
    lines = read(path).splitlines(keepends=True)
    subject, i = None, 0
    while i < len(lines) and lines[i].strip():
        line = lines[i]
        if line.lower().startswith("subject:"):
            subject = line[8:].strip()
            while i + 1 < len(lines) and lines[i + 1][:1] in " \t" and lines[i + 1].strip():
                i += 1
                subject += " " + lines[i].strip()
        elif line.startswith(("diff --git ", "--- ")):
            break
        i += 1
    if not subject:
        raise Stop("%s has no Subject: line" % os.path.relpath(path, TOP))
    subject = re.sub(r"^\[PATCH[^]]*\]\s*", "", subject)
    body, diff, where = [], [], "body"
    for line in lines[i:]:
        if where == "body" and line.rstrip("\n") == "---":
            where = "stat"
        elif where != "diff" and line.startswith("diff --git "):
            where = "diff"
        if where == "body":
            body.append(line)
        elif where == "diff":
            diff.append(line)
    return subject, "".join(body).strip("\n"), "".join(diff)


def sign(subject, body, who):
    """The commit message: with the trailer of whoever runs this."""
    sob = "Signed-off-by: %s <%s>" % who
    text = subject + "\n"
    if body:
        last = body.split("\n\n")[-1].splitlines()
        trailers = "\n\n" in body and all(re.match(r"[A-Z][A-Za-z-]+: \S", l) for l in last)
        text += "\n" + body + ("\n" if trailers else "\n\n") + sob + "\n"
    else:
        text += "\n" + sob + "\n"
    return text


def unsign(message, who):
    """(subject, body) of a commit message, without the trailer sign() adds."""
    lines = message.rstrip("\n").splitlines()
    sob = "Signed-off-by: %s <%s>" % who
    if lines and lines[-1] == sob:
        lines.pop()
    subject = lines[0] if lines else ""
    return subject, "\n".join(lines[1:]).strip("\n")


# --- making commits without a working tree -------------------------------

class Index:
    """A temporary index on the object store of build/linux."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="index-", dir=BUILD)
        self.env = {"GIT_INDEX_FILE": os.path.join(self.dir, "index")}
        self.tree = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def read(self, tree):
        if self.tree != tree:
            git("read-tree", tree, env=self.env)
            self.tree = tree

    def apply(self, diff, *opts):
        """None, or git's complaint."""
        if not diff:
            return None
        # One line of context has to fit: the 6.12.y differ in lines nearby.
        p = git("apply", "--cached", "-C1", "--whitespace=nowarn", *opts, "-",
                stdin=diff, env=self.env, check=False)
        if p.returncode:
            return p.stderr.strip()
        self.tree = None
        return None

    def update(self, removes=(), files=()):
        """files: (path in the tree, path on disk)"""
        info = ""
        for path in removes:
            if not git("ls-files", "--", path, env=self.env).stdout:
                raise Stop("%s is to be removed but is not in the tree" % path)
            info += "0 %s\t%s\n" % ("0" * 40, path)
        if files:
            ids = []
            for _, disk in files:
                if os.path.islink(disk):
                    ids.append(git("hash-object", "-w", "--stdin",
                                   stdin=os.readlink(disk)).stdout.strip())
                else:
                    ids.append(git("hash-object", "-w", "--no-filters", disk).stdout.strip())
            for (path, disk), oid in zip(files, ids):
                mode = ("120000" if os.path.islink(disk) else
                        "100755" if os.access(disk, os.X_OK) else "100644")
                info += "%s %s\t%s\n" % (mode, oid, path)
        if info:
            git("update-index", "--add", "--index-info", stdin=info, env=self.env)
            self.tree = None

    def write(self):
        self.tree = git("write-tree", env=self.env).stdout.strip()
        return self.tree

    def checkout(self, paths, where):
        """Take single files out, for looking at a reject."""
        have = git("ls-files", "-z", "--", *paths, env=self.env).stdout.split("\0")
        have = [h for h in have if h]
        if have:
            git("checkout-index", "-f", "--prefix=" + where + "/", "--", *have, env=self.env)


def commit_tree(tree, parent, message, who, when):
    date = "%d +0000" % when
    env = {"GIT_AUTHOR_NAME": who[0], "GIT_AUTHOR_EMAIL": who[1],
           "GIT_COMMITTER_NAME": who[0], "GIT_COMMITTER_EMAIL": who[1],
           "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    args = ["commit-tree", tree] + (["-p", parent] if parent else []) + ["-F", "-"]
    return git(*args, stdin=message, env=env).stdout.strip()


def rejects(index, diff):
    """The hunks that do not fit, by applying to copies of just those files."""
    where = os.path.join(index.dir, "reject")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    paths = re.findall(r"^diff --git a/(\S+) b/\S+$", diff, re.M)
    index.checkout(paths, where)
    run(["git", "apply", "--reject", "-C1", "--whitespace=nowarn", "-"], stdin=diff, cwd=where,
        env={"GIT_CEILING_DIRECTORIES": os.path.dirname(where)}, check=False)
    text = ""
    for d, _, names in sorted(os.walk(where)):
        for n in sorted(names):
            if n.endswith(".rej"):
                text += read(os.path.join(d, n))
    return text


def make_commit(index, entry, parent, n, who, when):
    """One entry on top of parent."""
    index.read(parent + "^{tree}")
    errors = []
    for name in entry.names:
        subject, body, diff = split_patch(entry.patch_path(name))
        err = index.apply(diff)
        if err is None:
            entry.used = name
            break
        errors.append((name, err, diff))
    else:
        # Of several alternatives, show the one that comes closest.
        rej, name, err = min(((rejects(index, diff), name, err) for name, err, diff in errors),
                             key=lambda x: len(x[0]))
        rel = os.path.relpath(entry.patch_path(name), TOP)
        text = "%s does not apply:\n    %s" % (rel, err.replace("\n", "\n    "))
        if len(errors) > 1:
            text += "\n(nor does any of its %d alternatives)" % (len(errors) - 1)
        if rej:
            text += "\nwhat does not fit:\n    %s" % rej.rstrip("\n").replace("\n", "\n    ")
        raise Stop(text)
    index.update(entry.removes, [(f, entry.file_path(f)) for f in entry.files])
    entry.subject = subject
    return commit_tree(index.write(), parent, sign(subject, body, who), who, when + 60 * n)


def assemble_commits(entries, pristine, who, cache):
    """The chain of commits; those made before from the same input are reused."""
    when = int(out("show", "-s", "--format=%ct", pristine))
    parent, commits = pristine, []
    with Index() as index:
        for n, e in enumerate(entries, 1):
            text = "\0".join([parent, *who, e.line()] + [file_hash(p) for p in e.inputs()])
            key = sha(text)
            hit = cache.get(key)
            if hit and ref(hit[0]):
                commit, e.used = hit
                e.subject = split_patch(e.patch_path())[0]
            else:
                commit = make_commit(index, e, parent, n, who, when)
                cache[key] = [commit, e.used]
            commits.append(commit)
            parent = commit
    return commits


# --- the pristine tree ----------------------------------------------------

def version_of(makefile):
    v = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)$",
                        makefile, re.M))
    if "VERSION" not in v or "PATCHLEVEL" not in v:
        return None
    return "%s.%s.%s%s" % (v["VERSION"], v["PATCHLEVEL"], v.get("SUBLEVEL") or "0",
                           v.get("EXTRAVERSION", ""))


def check_version(makefile, source):
    version = version_of(makefile)
    if not version:
        raise Stop("%s is not a Linux source tree" % source)
    if not re.match(r"6\.12\.\d+", version) or "-rc" in version:
        raise Stop("%s is Linux %s; the series is for 6.12.y" % (source, version))
    return version


class Import:
    """A git fast-import of one kernel tree."""

    def __init__(self, name):
        self.ref = "refs/p2pdma/import"
        self.p = subprocess.Popen(
            GIT + ["-C", LINUX, "-c", "core.compression=1", "-c", "pack.compression=1",
                   "fast-import", "--quiet", "--force", "--depth=0",
                   "--max-pack-size=8g"], stdin=subprocess.PIPE)
        self.name = name
        self.mark = 0
        self.entries = []
        self.makefile = None

    def add(self, path, mode, data):
        self.mark += 1
        if path == "Makefile":
            self.makefile = data.decode(errors="replace")
            check_version(self.makefile, self.name)
        if path == ".gitignore":
            # Debian's has git ignore every new file. Edits must be seen.
            data = b"".join(l for l in data.splitlines(True)
                            if l.strip() not in (b"/*", b"!/debian/"))
        w = self.p.stdin.write
        w(b"blob\nmark :%d\ndata %d\n" % (self.mark, len(data)))
        w(data)
        w(b"\n")
        quoted = path.encode(errors="surrogateescape")
        if b'"' in quoted or b"\n" in quoted:
            raise Stop("%s: cannot import the file name %r" % (self.name, path))
        self.entries.append(b"M %s :%d %s\n" % (mode, self.mark, quoted))

    def abort(self):
        self.p.kill()
        self.p.wait()

    def finish(self):
        if not self.makefile:
            raise Stop("%s is not a Linux source tree (it has no Makefile at its top)"
                       % self.name)
        version = check_version(self.makefile, self.name)
        msg = ("Linux %s\n" % version).encode()
        who = ("%s <%s>" % NEUTRAL).encode()
        when = RELEASED + 86400 * int(re.match(r"6\.12\.(\d+)", version).group(1))
        w = self.p.stdin.write
        w(b"commit %s\ncommitter %s %d +0000\ndata %d\n%s" %
          (self.ref.encode(), who, when, len(msg), msg))
        w(b"deleteall\n")
        for e in self.entries:
            w(e)
        w(b"\ndone\n")
        self.p.stdin.close()
        if self.p.wait():
            raise Stop("git fast-import of %s failed" % self.name)
        commit = ref(self.ref)
        git("update-ref", "-d", self.ref)
        return commit, version


def unpacker(path):
    for ends, cmd in ((".xz", ["xz", "-dc", "-T0"]), (".gz", ["gzip", "-dc"]),
                      (".tgz", ["gzip", "-dc"]), (".zst", ["zstd", "-dcq"]),
                      (".tar", ["cat"])):
        if path.endswith(ends):
            return cmd + [path]
    raise Stop("%s: expected a directory or a .tar.xz, .tar.gz or .tar.zst" % path)


def import_tarball(path, imp):
    dec = subprocess.Popen(unpacker(path), stdout=subprocess.PIPE)
    try:
        with tarfile.open(fileobj=dec.stdout, mode="r|", bufsize=1 << 20) as tar:
            for m in tar:
                name = m.name[2:] if m.name.startswith("./") else m.name
                _, _, rel = name.partition("/")
                if not rel:
                    continue
                if m.issym():
                    imp.add(rel, b"120000", m.linkname.encode())
                elif m.isfile():
                    mode = b"100755" if m.mode & 0o100 else b"100644"
                    imp.add(rel, mode, tar.extractfile(m).read())
        if dec.wait():
            raise Stop("%s is damaged" % path)
    except (tarfile.TarError, EOFError) as e:
        raise Stop("%s cannot be unpacked: %s" % (path, e)) from e
    finally:
        dec.stdout.close()
        dec.kill()
        dec.wait()


def dir_files(path):
    """The source files of a kernel tree: what git knows, or everything."""
    if os.path.exists(os.path.join(path, ".git")):
        p = run(["git", "-C", path, "ls-files", "-z"], check=False)
        names = [n for n in p.stdout.split("\0") if n]
        if "Makefile" in names and len(names) > 1000:
            return [n for n in names if os.path.lexists(os.path.join(path, n))]
    if os.path.exists(os.path.join(path, ".config")) or \
       os.path.exists(os.path.join(path, "include", "generated")):
        raise Stop("%s has been built in; run 'make mrproper' there, or give a tarball"
                   % path)
    names = []
    for d, dirs, files in os.walk(path):
        dirs[:] = sorted(x for x in dirs if x != ".git" and
                         not os.path.islink(os.path.join(d, x)))
        rel = os.path.relpath(d, path)
        for f in sorted(files):
            names.append(f if rel == "." else os.path.join(rel, f))
    return names


def import_dir(path, imp):
    for name in dir_files(path):
        full = os.path.join(path, name)
        if os.path.islink(full):
            imp.add(name, b"120000", os.readlink(full).encode())
        elif os.path.isfile(full):
            mode = b"100755" if os.stat(full).st_mode & stat.S_IXUSR else b"100644"
            with open(full, "rb") as f:
                imp.add(name, mode, f.read())


def source_key(path):
    """Changes when the source may have changed."""
    st = os.stat(path)
    if os.path.isfile(path):
        return sha("2 %s %d %d" % (os.path.realpath(path), st.st_size, st.st_mtime_ns))
    text = []
    for name in dir_files(path):
        s = os.lstat(os.path.join(path, name))
        text.append("%s %d %d" % (name, s.st_size, s.st_mtime_ns))
    return sha("2\n" + "\n".join(text))


def check_source(path):
    if not os.path.exists(path):
        raise Stop("LINUX=%s: there is no such file or directory" % path)
    if os.path.isdir(path):
        makefile = os.path.join(path, "Makefile")
        if not os.path.exists(makefile):
            raise Stop("LINUX=%s is not a Linux source tree (it has no Makefile)" % path)
        check_version(read(makefile), "LINUX=" + path)
    else:
        unpacker(path)


def pristine_commit(path, state):
    """Import the source, or find the commit made of it before."""
    path = os.path.abspath(path)
    check_source(path)
    key = source_key(path)
    hit = state.setdefault("pristine", {}).get(key)
    if hit and ref(hit):
        return hit
    say("reading %s" % path)
    imp = Import(path)
    try:
        (import_dir if os.path.isdir(path) else import_tarball)(path, imp)
        commit, version = imp.finish()
    except BrokenPipeError as e:
        raise Stop("git fast-import failed; is the disk full?") from e
    except BaseException:
        imp.abort()
        raise
    git("update-ref", "refs/p2pdma/pristines/%s-%s" % (version, commit[:12]), commit)
    state["pristine"][key] = commit
    save_state(state)
    return commit


# --- build/linux ----------------------------------------------------------

def load_state():
    try:
        return json.loads(read(STATE))
    except (OSError, ValueError):
        return {}


def save_state(state):
    tmp = STATE + ".new"
    with open(tmp, "w", encoding="utf-8") as f:
        json.dump(state, f, indent=1, sort_keys=True)
    os.replace(tmp, STATE)


def init_linux():
    if os.path.isdir(os.path.join(LINUX, ".git")):
        return
    if os.path.isdir(LINUX) and os.listdir(LINUX):
        raise Stop("%s exists and is not a git tree; move it away" % LINUX)
    os.makedirs(LINUX, exist_ok=True)
    run(["git", "init", "-q", "-b", BRANCH, LINUX])
    for k, v in (("gc.auto", "0"), ("maintenance.auto", "false"), ("core.fsync", "none"),
                 ("core.compression", "1"), ("index.version", "4"),
                 ("feature.manyFiles", "false"), ("core.autocrlf", "false")):
        git("config", k, v)
    name, mail = identity()
    if (name, mail) == NEUTRAL:
        git("config", "user.name", name)
        git("config", "user.email", mail)


def dirty_files():
    p = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    return [x[3:] for x in p.stdout.split("\0") if x]


def changed_between(a, b):
    return [x for x in git("diff", "--name-only", "--no-renames", "-z",
                           a, b).stdout.split("\0") if x]


def listing(names, most=20):
    names = sorted(names)
    text = "".join("\n    " + n for n in names[:most])
    if len(names) > most:
        text += "\n    and %d more" % (len(names) - most)
    return text


def changed_inputs(old, new):
    if old is None:
        return sorted(new)
    return sorted(p for p in set(old) | set(new) if old.get(p) != new.get(p))


def save_edits(base, head):
    """Everything in build/linux beyond base: as a commit on a ref, and as a patch."""
    when = time.strftime("%Y%m%d-%H%M%S")
    with Index() as index:
        git("read-tree", head, env=index.env)
        git("add", "-A", ".", env=index.env)
        tree = index.write()
    commit = commit_tree(tree, head, "Saved before build/linux was assembled anew\n",
                         identity(), int(time.time()))
    name = "refs/p2pdma/saved/" + when
    git("update-ref", name, commit)
    path = os.path.join(BUILD, "saved", when + ".patch")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    p = git("diff", "--binary", "--no-renames", base, commit, text=False)
    with open(path, "wb") as f:
        f.write(p.stdout)
    say("saved what was in build/linux: %s and %s" % (name, os.path.relpath(path, TOP)))


def move_to(commit, state):
    """Make HEAD, index and working tree those of commit; touch only what differs.

    The state says that a move is under way, so that one that was interrupted
    is finished the next time and its half is not taken for somebody's edits.
    """
    state["moving"] = commit
    save_state(state)
    git("checkout", "-q", "-f", "-B", BRANCH, commit)
    del state["moving"]
    save_state(state)


def adopt(new, pristine, inputs, who, commits, state):
    """build/linux becomes what was assembled from these inputs."""
    move_to(new, state)
    git("update-ref", ASSEMBLED, new)
    git("update-ref", PRISTINE, pristine)
    state.update(inputs=inputs, who=list(who))
    keep = set(commits)
    state["cache"] = {k: v for k, v in state["cache"].items() if v[0] in keep}
    save_state(state)


def cmd_assemble(args):
    force = os.environ.get("FORCE") == "1"
    entries = all_entries()
    inputs = project_inputs(entries)
    check_source(os.path.abspath(args.source))
    init_linux()
    who = identity()
    state = load_state()
    pristine = pristine_commit(args.source, state)
    if "moving" in state and ref(state["moving"]):
        move_to(state["moving"], state)
        git("update-ref", ASSEMBLED, "HEAD")
        state.pop("inputs", None)
    head, old = ref("HEAD"), ref(ASSEMBLED)
    same_input = (old and state.get("inputs") == inputs and
                  ref(PRISTINE) == pristine)

    dirty = dirty_files() if head else []
    beyond = changed_between(old, head) if old and head and head != old else []
    edited = bool(head) and (bool(dirty) or head != old)
    # A repository that was not made here counts as edited in all its files.
    if head and not old:
        beyond = ["(build/linux was not made by this script)"]

    if same_input and edited:
        say("build/linux has edits of its own; the project did not change: left alone")
        return
    if same_input and not edited and state.get("who") == list(who):
        say("build/linux is up to date (%d commits)" % len(entries))
        return

    commits = assemble_commits(entries, pristine, who, state.setdefault("cache", {}))
    new = commits[-1] if commits else pristine
    if edited and not (not dirty and tree_of(head) == tree_of(new)):
        changed = changed_inputs(state.get("inputs"), inputs)
        if ref(PRISTINE) != pristine:
            changed.append("(another kernel: LINUX=%s)" % args.source)
        if not force:
            raise Stop(
                "both sides changed since build/linux was last assembled.\n"
                "  In build/linux:%s\n  In the project:%s\n"
                "Run 'make refresh' to write the edits back first, or 'make tree FORCE=1'\n"
                "to start anew (which saves the edits under build/saved/)."
                % (listing(beyond + dirty), listing(changed)))
        save_edits(old or pristine, head)
        git("reset", "-q", "--hard")
        git("clean", "-q", "-f", "-d")
    adopt(new, pristine, inputs, who, commits, state)
    remember_used(entries, state)
    say("build/linux: %s and %d commits" % (out("show", "-s", "--format=%s", pristine),
                                            len(commits)))


def cmd_check(args):
    """Apply to other sources; build/linux itself does not move."""
    entries = all_entries()
    init_linux()
    state = load_state()
    bad = 0
    for source in args.source:
        name = os.path.basename(os.path.dirname(os.path.abspath(source)))
        try:
            pristine = pristine_commit(source, state)
            assemble_commits(entries, pristine, identity(), {})
            alt = [e.used for e in entries if e.used != e.names[0]]
            say("%s: %s: all %d apply%s" % (name, out("show", "-s", "--format=%s", pristine),
                                            len(entries),
                                            " (with %s)" % ", ".join(alt) if alt else ""))
        except Stop as e:
            bad += 1
            print("error: %s: %s" % (name, e), file=sys.stderr)
    return 1 if bad else 0


def cmd_list(_):
    for f in sorted({f for e in parse_series("series")[0] for f in e.files}):
        print(f)


# --- refresh: the way back ------------------------------------------------

class Commit:
    """A commit of build/linux, its fixups squashed in."""

    def __init__(self, oid):
        raw = out("show", "-s", "--format=%an%n%ae%n%cn%n%ce%n%B", oid)
        an, ae, cn, ce, message = (raw.split("\n", 4) + [""] * 4)[:5]
        self.oid = oid
        for who in ((cn, ce), (an, ae)):
            self.subject, self.body = unsign(message, who)
            if "Signed-off-by: %s <%s>" % who in message:
                break
        self.fixups = []
        self.parent_tree = self.tree = None
        self.entry = None
        self.group = None


def history(pristine, head):
    """The commits beyond pristine, oldest first, trees set, fixups squashed."""
    if git("merge-base", "--is-ancestor", pristine, head, check=False).returncode:
        raise Stop("HEAD of build/linux does not descend from the pristine kernel")
    if out("rev-list", "--merges", "%s..%s" % (pristine, head)):
        raise Stop("build/linux has merge commits; the series is linear: rebase them away")
    commits = []
    for oid in out("rev-list", "--reverse", "%s..%s" % (pristine, head)).split():
        c = Commit(oid)
        m = re.match(r"(?:(?:fixup|squash)! )+(.*)", c.subject)
        if not m:
            if any(x.subject == c.subject for x in commits):
                raise Stop("two commits of build/linux have the subject '%s'" % c.subject)
            commits.append(c)
            continue
        target = [x for x in commits if x.subject == m.group(1)] or \
                 [x for x in commits if x.subject.startswith(m.group(1))]
        if not target:
            raise Stop("no earlier commit for '%s'" % c.subject)
        target[0].fixups.append(c)
    squash(commits, pristine)
    if commits and commits[-1].tree != tree_of(head):
        raise Stop("squashing the fixups changed the result; run in build/linux:\n"
                   "    git rebase -i --autosquash refs/p2pdma/pristine")
    return commits


def squash(commits, pristine):
    """Set the trees, by replaying in a temporary index what fixups moved."""
    tree = tree_of(pristine)
    with Index() as index:
        for c in commits:
            c.parent_tree = tree
            for x in [c] + c.fixups:
                if tree_of(x.oid + "^") == tree:
                    tree = tree_of(x.oid)
                    continue
                index.read(tree)
                diff = git("diff", "--binary", "--full-index", "--no-renames",
                           x.oid + "^", x.oid).stdout
                err = index.apply(diff, "--3way") if diff else None
                if err:
                    raise Stop("'%s' cannot be squashed without conflict; run in build/linux:\n"
                               "    git rebase -i --autosquash refs/p2pdma/pristine\n%s"
                               % (x.subject, err))
                tree = index.write()
            c.tree = tree


def touched(a, b, kind):
    return changed_paths(a, b, "--diff-filter=" + kind)


def changed_paths(a, b, *opts):
    p = git("diff", "--name-only", "--no-renames", "-z", *opts, a, b)
    return [x for x in p.stdout.split("\0") if x]


def make_patch(c, group, exclude):
    """The text of a patch file. Little context: it has to fit every 6.12.y."""
    context = "-U1" if group == "base" else "-U2"
    spec = ["."] + [":(exclude,literal)" + x for x in sorted(exclude)]
    diff = git("diff", context, "--no-renames", "--no-ext-diff", "--no-color",
               "--no-textconv", "--diff-algorithm=histogram", "--src-prefix=a/",
               "--dst-prefix=b/", c.parent_tree, c.tree, "--", *spec).stdout
    if "\nBinary files " in diff:
        raise Stop("'%s' changes a binary file" % c.subject)
    diff = re.sub(r"(?m)^index [0-9a-f]+\.\.[0-9a-f]+(?: \d+)?\n(?=--- |diff |\Z)", "", diff)
    body = c.body + "\n" if c.body else ""
    return "Subject: [PATCH] %s\n\n%s---\n%s" % (c.subject, body, "\n" + diff if diff else "")


def match(commits, entries):
    """Give every commit its entry; what is left over by place may be a reword."""
    by_subject = {}
    for e in entries:
        e.subject = split_patch(e.patch_path())[0]
        by_subject[e.subject] = e
    for c in commits:
        c.entry = by_subject.pop(c.subject, None)
    for c, before in zip(commits, [None] + commits[:-1]):
        if c.entry:
            continue
        i = entries.index(before.entry) + 1 if before and before.entry else 0
        if before and not before.entry:
            continue
        e = entries[i] if i < len(entries) else None
        if e and e.subject in by_subject:
            had = set(e.files + e.removes +
                      re.findall(r"^diff --git a/(\S+) ", split_patch(e.patch_path())[2], re.M))
            if had & set(changed_paths(c.parent_tree, c.tree)):
                say("'%s' is now '%s'" % (e.subject, c.subject))
                c.entry = by_subject.pop(e.subject)
    last_base = max((i for i, c in enumerate(commits)
                     if c.entry and c.entry.group == "base"), default=-1)
    for i, c in enumerate(commits):
        c.group = c.entry.group if c.entry else ("base" if i < last_base else "series")
    return list(by_subject.values())    # entries without a commit


def describe(commits):
    """What refresh would write for a chain of commits: {commit: (patch, removes, files)}."""
    owned = {g: set() for g in GROUPS}
    for c in commits:
        if c.entry:
            owned[c.group] |= set(c.entry.files)
    plan = {}
    for c in commits:
        own = owned[c.group]
        old_files = c.entry.files if c.entry else []
        old_removes = c.entry.removes if c.entry else []
        new = [f for f in touched(c.parent_tree, c.tree, "A") if f not in own]
        own |= set(new)
        gone = [f for f in touched(c.parent_tree, c.tree, "D") if f not in own]
        removes = [f for f in old_removes if f in gone] + \
                  [f for f in gone if f not in old_removes]
        plan[c] = (removes, list(old_files) + new)
    for c in commits:
        removes, files = plan[c]
        text = make_patch(c, c.group, owned[c.group] | set(removes))
        plan[c] = (text, removes, files)
    return plan


def slug(subject):
    return re.sub(r"[^A-Za-z0-9._]+", "-", subject).strip("-.")[:52].strip("-.")


def number(name):
    m = re.match(r"(\d{4})-", name)
    return int(m.group(1)) if m else 0


def renumber(names):
    """Numbers must rise along the series; change as few as possible."""
    if all(number(a[0]) < number(b[0]) for a, b in zip(names, names[1:])):
        return names
    return [[re.sub(r"^\d{4}-", "%04d-" % i, n) for n in alt] for i, alt in enumerate(names, 1)]


def blob(tree, path):
    """(bytes, mode) of a file in a tree, or None."""
    p = git("ls-tree", tree, "--", path)
    if not p.stdout.strip():
        return None
    mode, _, oid = p.stdout.split("\t")[0].split()
    return git("cat-file", "blob", oid, text=False).stdout, mode


def plan_writes(commits, entries, gone, asm):
    """{absolute path: (bytes, mode) or None}, only what edits in build/linux changed."""
    plan = describe(commits)
    before = describe(asm)
    was = {c.entry.names[0] + c.group: before[c] for c in asm if c.entry}
    asm_end = {g: [c for c in asm if c.group == g] for g in GROUPS}
    writes = {}
    for e in gone:
        say("dropped: %s" % e.names[0])
        for p in e.inputs():
            writes[p] = None
    for group in GROUPS:
        chain = [c for c in commits if c.group == group]
        old_entries, tail = parse_series(group)
        lines, names, kept = [], [], []
        for c in chain:
            text, removes, files = plan[c]
            old = was.get(c.entry.names[0] + group) if c.entry else None
            if not c.entry and not files and not removes and "\ndiff --git " not in text:
                say("'%s' only changes files of other commits: goes into those" % c.subject)
                continue
            last = number(names[-1][0]) if names else 0
            names.append(list(c.entry.names) if c.entry else
                         ["%04d-%s.patch" % (last + 1, slug(c.subject))])
            if c.entry and c.entry.subject != c.subject:
                names[-1][0] = "%04d-%s.patch" % (number(names[-1][0]), slug(c.subject))
            if old and len(c.entry.names) > 1 and old[0] != text:
                say("%s changed; look after its alternatives too" % c.entry.used)
            kept.append((c, text, removes, files, old))
        for (c, text, removes, files, old), new in zip(kept, renumber(names)):
            if c.entry:
                for a, b in zip(c.entry.names, new):
                    src, dst = c.entry.patch_path(a), os.path.join(c.entry.dir, b)
                    if a == c.entry.used and (not old or old[0] != text):
                        writes[dst] = (text.encode(errors="surrogateescape"), "100644")
                    elif a != b:
                        with open(src, "rb") as f:
                            writes[dst] = (f.read(), "100644")
                    if a != b:
                        writes.setdefault(src, None)
            else:
                writes[os.path.join(GROUPS[group][0], new[0])] = (
                    text.encode(errors="surrogateescape"), "100644")
            end, asm_last = chain[-1].tree, asm_end[group][-1].tree if asm_end[group] else None
            present = []
            for f in files:
                now = blob(end, f)
                path = os.path.join(GROUPS[group][1], f)
                if now is None:
                    writes[path] = None
                    continue
                present.append(f)
                if asm_last is None or blob(asm_last, f) != now or writes.get(path, 1) is None:
                    writes[path] = now
            entry = Entry(group, new, removes, present)
            entry.raw = c.entry.raw if c.entry else None
            first = c.entry and old_entries and c.entry.names == old_entries[0].names
            lines.append((c.entry.comments if c.entry and not first else [], entry.line()))
        if [l for _, l in lines] != [e.line() for e in old_entries]:
            # What precedes the first entry is the file's header.
            text = list(old_entries[0].comments if old_entries else tail)
            for comments, line in lines:
                text += comments + [line]
            if old_entries:
                text += tail
            writes[series_file(group)] = (("\n".join(text) + "\n").encode(
                errors="surrogateescape"), "100644")
    return writes


def on_disk(path):
    if os.path.islink(path):
        return os.readlink(path).encode(), "120000"
    if not os.path.exists(path):
        return None
    with open(path, "rb") as f:
        return f.read(), "100755" if os.access(path, os.X_OK) else "100644"


def put(path, content):
    if os.path.lexists(path):
        os.unlink(path)
    if content is None:
        d = os.path.dirname(path)
        while d.startswith(TOP + "/") and os.path.isdir(d) and not os.listdir(d):
            os.rmdir(d)
            d = os.path.dirname(d)
        return
    data, mode = content
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if mode == "120000":
        os.symlink(data.decode(), path)
        return
    with open(path, "wb") as f:
        f.write(data)
    if mode == "100755":
        os.chmod(path, 0o755)


def cmd_refresh(_):
    if not os.path.isdir(os.path.join(LINUX, ".git")):
        raise Stop("there is no build/linux; run 'make tree' first")
    pristine, old, head = ref(PRISTINE), ref(ASSEMBLED), ref("HEAD")
    state = load_state()
    if not pristine or not old or "inputs" not in state:
        raise Stop("build/linux was not made by 'make tree'; it cannot be written back")
    dirty = dirty_files()
    if dirty:
        raise Stop("build/linux has uncommitted changes:%s\nCommit them there: as a new commit, "
                   "or for an existing one with\n    git commit -a --fixup <commit>\n"
                   "(fixups are squashed into their commit)" % listing(dirty))
    if head == old:
        say("build/linux has no edits")
        return
    entries = all_entries()
    inputs = project_inputs(entries)
    changed = set(changed_inputs(state["inputs"], inputs))
    commits, asm = history(pristine, head), history(pristine, old)
    gone = match(commits, entries)
    match(asm, entries)
    # The alternative that applied is the one that an edit belongs to.
    for e in entries:
        for n in e.names:
            if state.get("used", {}).get(e.group + "/" + e.names[0]) == n:
                e.used = n
    writes = plan_writes(commits, entries, gone, asm)
    writes = {p: c for p, c in writes.items() if on_disk(p) != c}
    clash = [os.path.relpath(p, TOP) for p in writes if os.path.relpath(p, TOP) in changed]
    if clash:
        raise Stop("changed in build/linux and in the project since the last 'make tree':%s\n"
                   "Put the project's version back (or copy it into build/linux and commit), "
                   "then refresh again;\nor give up the edits in build/linux: "
                   "'make tree FORCE=1' (saves them)." % listing(clash))
    write_back(writes, changed, pristine, old, head, state)


def write_back(writes, changed, pristine, old, head, state):
    """Write, assemble anew and compare; undo if the result is not what was there."""
    who = identity()
    theirs = set()
    if changed:
        now = assemble_commits(all_entries(), pristine, who, {})
        theirs = set(changed_between(old, now[-1] if now else pristine))
    saved = {p: on_disk(p) for p in writes}
    backup = os.path.join(BUILD, "saved", "refresh-" + time.strftime("%Y%m%d-%H%M%S"))
    try:
        for p, content in writes.items():
            if saved[p] is not None:
                put(os.path.join(backup, os.path.relpath(p, TOP)), saved[p])
            put(p, content)
        entries = all_entries()
        commits = assemble_commits(entries, pristine, who, state.setdefault("cache", {}))
        new = commits[-1] if commits else pristine
        wrong = set(changed_between(head, new)) - theirs
        if wrong:
            raise Stop("the patches written do not give the same tree:%s" % listing(wrong))
    except BaseException:
        for p, content in saved.items():
            put(p, content)
        raise
    for p in sorted(writes):
        say("%s %s" % ("removed" if writes[p] is None else
                       "changed" if saved[p] else "new    ", os.path.relpath(p, TOP)))
    if not writes:
        say("nothing to write: the project has it all already")
    adopt(new, pristine, project_inputs(entries), who, commits, state)
    remember_used(entries, state)


def remember_used(entries, state):
    state["used"] = {e.group + "/" + e.names[0]: e.used for e in entries}
    save_state(state)


# --- export ---------------------------------------------------------------

def cmd_export(_):
    who = identity(required=True)
    state = load_state()
    pristine, old, head = ref(PRISTINE), ref(ASSEMBLED), ref("HEAD")
    if not old:
        raise Stop("there is no build/linux; run 'make tree' first")
    if head != old or dirty_files():
        raise Stop("build/linux has edits that the project does not: run 'make refresh' first")
    if state.get("who") != list(who):
        raise Stop("build/linux carries another name; run 'make tree' first")
    where = os.path.join(BUILD, "series")
    shutil.rmtree(where, ignore_errors=True)
    cover_file = os.path.join(PATCHES, "cover-letter.txt")
    git("-c", "format.signOff=false", "-c", "format.subjectPrefix=PATCH",
        "-c", "format.thread=false", "-c", "format.attach=", "-c", "format.numbered=true",
        "format-patch", "-q", "--cover-letter", "--no-signature", "--no-renames",
        "-o", where, "%s..%s" % (pristine, old),
        env={"GIT_COMMITTER_NAME": who[0], "GIT_COMMITTER_EMAIL": who[1],
             "GIT_AUTHOR_NAME": who[0], "GIT_AUTHOR_EMAIL": who[1]})
    cover = os.path.join(where, "0000-cover-letter.patch")
    text = read(cover)
    if os.path.exists(cover_file):
        subject, _, blurb = read(cover_file).partition("\n")
        text = text.replace("*** SUBJECT HERE ***", re.sub(r"^Subject:\s*", "", subject).strip())
        text = text.replace("*** BLURB HERE ***", blurb.strip("\n"))
    if "*** " in text.split("\n---\n")[0]:
        raise Stop("patches/cover-letter.txt is missing or incomplete")
    write_if_changed(cover, text)
    say("build/series: a cover letter and %d patches" % (len(os.listdir(where)) - 1))


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="cmd", required=True)
    a = sub.add_parser("assemble")
    a.add_argument("source")
    a.set_defaults(run=cmd_assemble)
    a = sub.add_parser("check")
    a.add_argument("source", nargs="+")
    a.set_defaults(run=cmd_check)
    for name, f in (("refresh", cmd_refresh), ("export", cmd_export), ("list", cmd_list)):
        sub.add_parser(name).set_defaults(run=f)
    args = p.parse_args()
    try:
        sys.exit(args.run(args) or 0)
    except Stop as e:
        print("error: %s" % e, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
