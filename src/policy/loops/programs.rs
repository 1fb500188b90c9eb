//! What common command-line programs are for.
//!
//! A program that is not listed could be anything ([`Kind::Run`]): it is
//! watched like any other and never counts as a change.

use super::print::Kind;

/// What a script that writes files says; quotes are gone by then.
const WRITING_MARKS: &[&str] = &["write_text", ".write(", "writeFile", ",w)", ", w)"];

/// One change makes the whole a change; pauses before a look make it a poll.
pub(super) fn combined(kinds: &[Kind]) -> Kind {
    let has = |kind| kinds.contains(&kind);
    match () {
        () if kinds.is_empty() => Kind::Read,
        () if has(Kind::Write) => Kind::Write,
        () if has(Kind::Run) => Kind::Run,
        () if kinds.iter().all(|kind| *kind == Kind::Wait) => Kind::Wait,
        () if has(Kind::Wait) || has(Kind::Poll) => Kind::Poll,
        () => Kind::Read,
    }
}

/// One program with its words.
#[derive(Debug, Default)]
pub(super) struct Simple {
    /// Program and arguments, quotes gone.
    pub words: Vec<String>,
    /// Its output goes to a file.
    pub writes_file: bool,
}

impl Simple {
    /// Returns whether it only prepares for the next (`cd x`, `export A=b`).
    #[rustfmt::skip]
    pub fn is_setting(&self) -> bool {
        if self.writes_file {
            return false;
        }
        match self.words.first().map(String::as_str) {
            None => true,
            Some(word) => {
                matches!(
                    word,
                    "cd" | "export"
                        | "source" | "." | "set" | "pushd" | "popd" | "unset" | "then" | "do" | "done" | "fi"
                            | "true"
                ) || self.words.iter().all(|word| is_assignment(word))
            }
        }
    }

    /// Returns program and arguments, without what merely wraps them.
    fn stripped(&self) -> &[String] {
        let mut words = &self.words[..];
        while let Some(first) = words.first() {
            let skip = match first.as_str() {
                "sudo" | "time" | "nohup" | "command" | "exec" | "then" | "do" | "else" | "!"
                | "while" | "until" | "if" => 1,
                "env" => 1,
                "timeout" | "gtimeout" | "nice" => 2,
                "npx" | "bunx" | "uvx" => 1,
                "uv" | "poetry" | "pipenv" | "hatch" | "pdm"
                    if words.get(1).is_some_and(|w| w == "run") =>
                {
                    2
                }
                "bundle" if words.get(1).is_some_and(|w| w == "exec") => 2,
                "python" | "python3" if words.get(1).is_some_and(|w| w == "-m") => 2,
                word if is_assignment(word) => 1,
                _ => break,
            };
            words = &words[skip.min(words.len())..];
        }
        words
    }

    pub fn program(&self) -> &str {
        let word = self.stripped().first().map(String::as_str).unwrap_or("");
        word.rsplit('/').next().unwrap_or(word)
    }

    /// Returns the words after the program that are not options.
    fn verbs(&self) -> impl Iterator<Item = &str> {
        self.stripped()
            .iter()
            .skip(1)
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'))
    }

    fn has(&self, wanted: &[&str]) -> bool {
        self.words
            .iter()
            .any(|word| wanted.contains(&word.as_str()))
    }

    #[rustfmt::skip]
    pub fn name(&self) -> String {
        let program = self.program();
        let two_part = matches!(
            program,
            "git" | "npm" | "yarn" | "pnpm" | "cargo" | "go" | "kubectl" | "docker" | "aws" | "gcloud" | "az"
                | "gh" | "make" | "terraform" | "helm" | "mvn" | "gradle" | "gradlew" | "dotnet" | "bun"
                | "pip" | "systemctl" | "python" | "python3" | "node"
        );
        match self.verbs().next() {
            Some(verb) if two_part => format!("{program} {verb}"),
            _ => program.to_owned(),
        }
    }

    #[rustfmt::skip]
    pub fn is_network(&self) -> bool {
        let verb = self.verbs().next().unwrap_or("");
        match self.program() {
            "curl" | "wget" | "ssh" | "scp" | "rsync" | "kubectl" | "aws" | "gcloud" | "az"
            | "gh" | "helm" | "pip" | "pip3" | "apt" | "apt-get" | "brew" | "nc" | "ping"
            | "dig" | "psql" | "mysql" | "redis-cli" | "http" => true,
            "npm" | "yarn" | "pnpm" | "bun" => {
                matches!(verb, "install" | "ci" | "add" | "publish" | "i" | "update")
            }
            "git" => matches!(verb, "clone" | "fetch" | "pull" | "push" | "ls-remote"),
            "docker" => matches!(verb, "pull" | "push" | "login"),
            "cargo" => matches!(verb, "fetch" | "publish" | "install" | "update"),
            "terraform" => true,
            "go" => matches!(verb, "get" | "install" | "mod"),
            _ => false,
        }
    }

    pub fn kind(&self) -> Kind {
        if self.writes_file || self.is_writing_script() {
            return Kind::Write;
        }
        let mut verbs = self.verbs();
        let (one, two) = (verbs.next().unwrap_or(""), verbs.next().unwrap_or(""));
        match self.program() {
            "sleep" | "wait" | "usleep" => Kind::Wait,
            "ps" | "pgrep" | "pidof" | "squeue" | "sacct" | "qstat" | "jobs" | "nvidia-smi"
            | "pg_isready" | "watch" | "journalctl" | "uptime" | "ping" | "nc" | "lsof"
            | "netstat" | "ss" | "top" | "date" => Kind::Poll,
            "rm" | "mv" | "cp" | "mkdir" | "touch" | "ln" | "chmod" | "chown" | "dd"
            | "truncate" | "patch" | "tee" | "rmdir" | "kill" | "pkill" | "killall" | "unzip"
            | "tar" | "rsync" | "scp" | "apply_patch" | "install" | "rails" | "createdb"
            | "dropdb" | "isort" | "autopep8" => Kind::Write,
            "ls" | "cat" | "head" | "grep" | "egrep" | "fgrep" | "rg" | "ag" | "ack" | "fd"
            | "wc" | "pwd" | "which" | "type" | "file" | "stat" | "du" | "df" | "tree" | "less"
            | "more" | "diff" | "cmp" | "sort" | "uniq" | "cut" | "tr" | "awk" | "jq" | "yq"
            | "nl" | "echo" | "printf" | "env" | "printenv" | "whoami" | "id" | "uname"
            | "hostname" | "test" | "[" | "md5sum" | "sha256sum" | "xxd" | "od" | "strings"
            | "realpath" | "basename" | "dirname" | "man" | "column" | "dig" | "host" | "xargs"
            | "read" | "false" => Kind::Read,
            "tail" => self.tail_kind(),
            "find" if self.has(&["-delete", "-exec"]) => Kind::Write,
            "find" => Kind::Read,
            "sed" | "perl"
                if self
                    .words
                    .iter()
                    .any(|w| w.starts_with("-i") || w.starts_with("-pi")) =>
            {
                Kind::Write
            }
            "sed" => Kind::Read,
            "curl" | "wget" | "http" => self.http_kind(),
            "git" => git_kind(one, two),
            "pip" | "pip3" | "npm" | "yarn" | "pnpm" | "bun" | "cargo" | "apt" | "apt-get"
            | "brew" | "gem" | "uv" | "poetry" | "composer" | "conda" | "apk" | "go" => {
                package_kind(one, two)
            }
            "black" | "gofmt" | "prettier" | "ruff" | "eslint" | "rustfmt"
                if self.has(&["--write", "-w", "--fix", "format"]) =>
            {
                Kind::Write
            }
            "black" | "rustfmt" if !self.has(&["--check"]) => Kind::Write,
            "kubectl" | "docker" | "docker-compose" | "podman" | "helm" | "systemctl"
            | "service" | "terraform" | "tofu" | "aws" | "gcloud" | "az" | "gh" | "glab"
            | "heroku" | "flyctl" | "vercel" => self.cloud_kind(),
            "psql" | "mysql" | "sqlite3" => self.sql_kind(),
            "make" if matches!(one, "install" | "deploy" | "migrate") => Kind::Write,
            "alembic" | "prisma" | "flyway" | "knex" => Kind::Write,
            program
                if ["status", "check_", "wait", "poll", "health"]
                    .iter()
                    .any(|part| program.contains(part)) =>
            {
                Kind::Poll
            }
            _ => Kind::Run,
        }
    }

    /// `node -e "fs.writeFileSync(…)"` and the like.
    fn is_writing_script(&self) -> bool {
        self.has(&["-c", "-e"])
            && self
                .words
                .iter()
                .any(|word| WRITING_MARKS.iter().any(|mark| word.contains(mark)))
    }

    /// A log is watched, another file is read.
    fn tail_kind(&self) -> Kind {
        let log = self
            .verbs()
            .any(|word| word.contains(".log") || word.contains("log/") || word.ends_with(".out"));
        if log || self.has(&["-f", "-F"]) {
            Kind::Poll
        } else {
            Kind::Read
        }
    }

    #[rustfmt::skip]
    fn http_kind(&self) -> Kind {
        let sends = self.words.iter().any(|word| {
            matches!(
                word.as_str(),
                "POST" | "PUT" | "PATCH" | "DELETE" | "-d" | "--data" | "-F" | "--form" | "--json" | "-T"
            ) || word.starts_with("--data")
                || word.starts_with("--post")
                || word.starts_with("-XP")
                || word.starts_with("-XD")
        });
        let asks_state = self.verbs().any(|word| {
            ["health", "status", "ready", "/jobs/", "livez", "ping"]
                .iter()
                .any(|part| word.contains(part))
        });
        match (sends, asks_state) {
            (true, _) => Kind::Write,
            (false, true) => Kind::Poll,
            (false, false) => Kind::Read,
        }
    }

    #[rustfmt::skip]
    fn cloud_kind(&self) -> Kind {
        let verbs: Vec<&str> = self.verbs().take(4).collect();
        let starts = |heads: &[&str]| {
            verbs.iter().any(|verb| {
                heads
                    .iter()
                    .any(|head| *verb == *head || verb.starts_with(&format!("{head}-")))
            })
        };
        let states = starts(&[
            "status", "wait", "watch", "describe", "logs", "ps", "top", "events", "checks",
        ]);
        let kubectl_get = self.program() == "kubectl" && starts(&["get"]);
        match () {
            () if starts(&["rollout"]) && starts(&["restart", "undo"]) => Kind::Write,
            () if states || kubectl_get => Kind::Poll,
            () if starts(&[
                "list", "ls", "view", "get", "show", "output", "inspect", "head", "plan",
                "validate", "version", "diff",
            ]) =>
            {
                Kind::Read
            }
            () if starts(&[
                "create", "apply", "delete", "destroy", "patch", "scale", "set", "edit", "update", "put",
                "run", "start", "stop", "restart", "terminate", "rm", "rmi", "kill", "build", "up", "down",
                "deploy", "cp", "sync", "mb", "rb", "merge", "comment", "close", "push", "pull", "install",
                "upgrade", "uninstall", "import", "enable", "disable", "rollback", "add", "remove", "label",
                "annotate", "drain", "cordon", "tag", "invoke", "rerun", "init", "modify", "reboot", "attach",
                "detach", "associate", "rollout", "expose",
            ]) =>
            {
                Kind::Write
            }
            () => Kind::Run,
        }
    }

    fn sql_kind(&self) -> Kind {
        let statement = self
            .words
            .iter()
            .find(|word| super::spelling::looks_like_sql(word));
        match statement {
            Some(text) => super::meaning::sql_kind(text),
            None => Kind::Run,
        }
    }
}

fn git_kind(verb: &str, next: &str) -> Kind {
    match verb {
        "stash" if matches!(next, "list" | "show") => Kind::Read,
        "add" | "commit" | "push" | "merge" | "rebase" | "checkout" | "switch" | "restore"
        | "reset" | "stash" | "apply" | "am" | "cherry-pick" | "revert" | "clone" | "pull"
        | "init" | "mv" | "rm" | "clean" | "worktree" => Kind::Write,
        "tag" | "branch" if !next.is_empty() => Kind::Write,
        "" => Kind::Run,
        _ => Kind::Read,
    }
}

#[rustfmt::skip]
fn package_kind(verb: &str, next: &str) -> Kind {
    let installs = |word: &str| {
        matches!(
            word,
            "install" | "i" | "add" | "remove" | "uninstall" | "ci" | "update" | "upgrade" | "rm" | "fmt"
                | "publish" | "init" | "new" | "sync" | "lock" | "get" | "tidy" | "fix" | "purge"
        )
    };
    match verb {
        "list" | "ls" | "show" | "outdated" | "freeze" | "tree" | "metadata" | "search"
        | "info" | "view" => Kind::Read,
        verb if installs(verb) => Kind::Write,
        "pip" | "mod" if installs(next) => Kind::Write,
        _ => Kind::Run,
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.as_bytes()[0].is_ascii_digit()
    })
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::*;

    #[test]
    fn kind_table() {
        #[rustfmt::skip]
        let rows = [
            ("a listing reads", "ls -la src", Kind::Read),
            ("a test run could be anything", "cd /x && pytest -q", Kind::Run),
            ("a redirect writes", "echo hi > a.txt", Kind::Write),
            ("a redirect to nowhere does not", "ls x 2>/dev/null", Kind::Read),
            ("joined streams are not files", "grep a b 2>&1", Kind::Read),
            ("an arrow in quotes is text", "grep -n '=> x' src", Kind::Read),
            ("sed in place writes", "sed -i 's/a/b/' f && pytest", Kind::Write),
            ("sed for lines reads", "sed -n '1,20p' f", Kind::Read),
            ("a pause is a wait", "sleep 30", Kind::Wait),
            ("a pause and a look is a poll", "sleep 30 && cat out.txt", Kind::Poll),
            ("a log is watched", "tail -n 20 build.log", Kind::Poll),
            ("git status reads", "git status", Kind::Read),
            ("a commit writes", "git commit -m 'x'", Kind::Write),
            ("a here-document into a file writes", "cat > a.py <<'EOF'\nrm -rf /\nEOF\npython a.py", Kind::Write),
            ("a here-document to a program is its text", "python3 - <<'EOF'\nprint(1 > 2)\nEOF", Kind::Run),
            ("pods are polled", "kubectl get pods -n x", Kind::Poll),
            ("an apply writes", "kubectl apply -f x.yaml", Kind::Write),
            ("installing writes", "pip install requests", Kind::Write),
            ("a posted form writes", "curl -X POST https://example.com/a -d x=1", Kind::Write),
            ("nothing reads", "", Kind::Read),
        ];
        for (name, text, want) in rows {
            assert_eq!(Shell::read(text).kind, want, "row: {name}");
        }
    }

    #[test]
    fn program_table() {
        let rows = [
            ("cd /x && python -m pytest -q", "pytest"),
            ("FOO=1 sudo timeout 30 make test", "make test"),
            ("/usr/bin/git -C x status", "git x"),
            ("npx jest", "jest"),
            ("uv run pytest", "pytest"),
        ];
        for (text, want) in rows {
            assert_eq!(Shell::read(text).program, want, "row: {text}");
        }
    }
}
