//! What is known about single programs: which read, which say "nothing found", which run tests.
//!
//! Sources: the EXIT STATUS sections of their man pages.

pub(super) fn reads(name: &str, arguments: &[String]) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let verb = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    match name {
        "cat" | "head" | "tail" | "less" | "more" | "bat" | "grep" | "egrep" | "fgrep" | "rg"
        | "ag" | "ack" | "zgrep" | "zcat" | "awk" | "gawk" | "cut" | "sort" | "uniq" | "wc"
        | "strings" | "xxd" | "od" | "hexdump" | "journalctl" | "dmesg" | "echo" | "printf"
        | "ls" | "find" | "fd" | "tree" | "diff" | "nl" | "tac" | "jq" | "yq" | "column"
        | "xmllint" | "sqlite3" | "history" | "last" | "Get-Content" | "type" | "stern"
        | "lnav" | "multitail" | "pdftotext" | "base64" | "less.sh" | "man" | "tldr" => true,
        "sed" => !has("-i"),
        "git" => matches!(
            verb,
            "log"
                | "show"
                | "diff"
                | "grep"
                | "blame"
                | "cat-file"
                | "status"
                | "reflog"
                | "shortlog"
        ),
        "kubectl" | "oc" | "docker" | "podman" | "nomad" | "heroku" | "flyctl" | "fly"
        | "vercel" | "pm2" | "nerdctl" => {
            has("logs") || has("log") || matches!(verb, "describe" | "get" | "events" | "inspect")
        }
        "docker-compose" | "systemctl" => matches!(verb, "logs" | "status" | "cat" | "show"),
        "gh" => {
            matches!(verb, "issue" | "pr" | "run" | "search" | "release")
                && !has("create")
                && !has("merge")
        }
        "aws" | "gcloud" | "az" => {
            has("logs")
                || has("logging")
                || arguments.iter().any(|word| word.contains("log-events"))
        }
        "curl" | "wget" | "http" | "xh" => arguments.iter().any(|argument| names_a_file(argument)),
        _ => false,
    }
}

/// Whether a URL's path ends in a file name: fetching it reads a document.
/// Endings of files that an API serves under its own path.
const FILE_ENDINGS: &[&str] = &[
    "txt", "log", "md", "csv", "xml", "html", "htm", "pdf", "json", "jsonl", "yaml", "yml", "py",
    "js", "ts", "rs", "go", "java", "c", "h", "sh", "sql", "zip", "gz", "tar", "png", "jpg",
    "toml", "ini", "conf", "cfg", "env", "rb", "cpp", "hpp", "cs", "kt", "lua", "ipynb", "lock",
    "out", "err", "trace", "tsv", "rst", "adoc", "tex", "svg", "gif", "jpeg", "bz2", "xz", "tgz",
    "whl", "bin", "exe", "deb", "rpm", "iso", "jar", "ndjson", "map", "css", "doc", "docx", "xlsx",
    "patch",
];

pub(in super::super) fn names_a_file(url: &str) -> bool {
    if url.starts_with("file://") {
        return true;
    }
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let path = rest.split(['?', '#']).next().unwrap_or(rest);
    let Some((_, last)) = path.rsplit_once('/') else {
        return false;
    };
    // Other endings are methods (`/api/users.list`) or scripts (`/index.php`).
    last.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && FILE_ENDINGS.contains(&extension.to_ascii_lowercase().as_str())
    })
}

pub(super) fn negative(name: &str, arguments: &[String], code: i64) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let has_prefix = |word: &str| arguments.iter().any(|argument| argument.starts_with(word));
    let verb = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    match (name, code) {
        (
            "grep" | "egrep" | "fgrep" | "zgrep" | "rg" | "ag" | "ack" | "pgrep" | "pkill"
            | "pidof" | "diff" | "cmp" | "colordiff" | "test" | "[" | "[[" | "expr" | "which"
            | "whereis" | "type" | "hash" | "lsof" | "fuser" | "findstr" | "find.exe" | "sdiff"
            | "diff3" | "look" | "mountpoint" | "getopts" | "xdelta" | "ngrep" | "zdiff" | "zcmp"
            | "fzf" | "comm",
            1,
        ) => true,
        ("command", 1) | ("false" | "let", 1) => name != "false",
        ("getent", 2) => true,
        ("jq", 1) => has("-e") || has("--exit-status"),
        ("git", 1) => match verb {
            "grep" | "merge-base" | "check-ignore" | "show-ref" | "config" => true,
            "diff" | "diff-index" | "diff-files" => true,
            "rev-parse" => has("--quiet") || has("-q"),
            _ => false,
        },
        ("git", 2) => verb == "ls-remote" && has("--exit-code"),
        ("terraform" | "tofu" | "terragrunt", 2) => {
            has_prefix("-detailed-exitcode") || has("--detailed-exitcode") || verb == "plan"
        }
        ("helm", 2) => has("--detailed-exitcode"),
        ("helmfile", 2) => verb == "diff" || has("--detailed-exitcode"),
        ("kubectl", 1) => verb == "diff",
        ("robocopy", 1..=7) => true,
        ("systemctl", 1 | 3 | 4) => {
            matches!(verb, "is-active" | "is-enabled" | "is-failed" | "status")
        }
        ("npm" | "pnpm" | "yarn", 1) => verb == "outdated",
        ("crontab", 1) => has("-l"),
        ("dpkg" | "rpm" | "dpkg-query", 1) => has("-s") || has("-q") || has("-l") || has("-W"),
        ("ansible-playbook" | "puppet", 2) => verb == "agent",
        ("dnf" | "yum", 100) => verb == "check-update",
        ("tmux", 1) => verb == "has-session",
        ("needrestart" | "checkupdates", 2) => true,
        ("docker", 1) => verb == "inspect" && has("--quiet"),
        _ => false,
    }
}

pub(super) fn runs_tests(name: &str, arguments: &[String]) -> bool {
    let first = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    let second = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .nth(1)
        .map_or("", String::as_str);
    match name {
        "pytest" | "py.test" | "jest" | "vitest" | "mocha" | "ava" | "tap" | "rspec"
        | "phpunit" | "pest" | "ctest" | "tox" | "nox" | "unittest" | "nosetests" | "bats"
        | "karma" | "cypress" | "behave" | "cucumber" | "robot" | "nextest" | "gotestsum"
        | "minitest" | "prove" | "trial" | "ginkgo" | "detox" | "newman" | "k6" => true,
        "cargo" => matches!(first, "test" | "nextest" | "t"),
        "go" | "swift" | "mix" | "deno" | "bun" | "dotnet" | "zig" | "rails" | "flutter"
        | "dart" | "forge" | "hardhat" | "bazel" | "bazelisk" | "sbt" | "lein" | "stack"
        | "cabal" | "dune" | "ng" | "ember" | "meson" | "rake" | "elm-test" | "playwright" => {
            first == "test" || first == "coverage"
        }
        "npm" | "yarn" | "pnpm" | "composer" => {
            first == "test" || first == "t" || first == "run" && second.starts_with("test")
        }
        "make" | "just" | "task" | "ninja" => first.starts_with("test") || first == "check",
        "mvn" | "mvnw" | "gradle" | "gradlew" => arguments.iter().any(|argument| {
            argument.ends_with("test") || argument == "verify" || argument == "check"
        }),
        _ => {
            name.starts_with("run_tests")
                || name.starts_with("run-tests")
                || name == "test.sh"
                || name == "runtests.py"
        }
    }
}
