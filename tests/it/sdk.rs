//! A loop on a real SDK (`openai`, `anthropic`) with real tools (git, pytest,
//! SQLite), killed at random moments and resumed until it is done: the same
//! files, commits, side effects, conversation and spend as the run that nobody
//! disturbed. The agent, its tools and its model are in `fixtures/sdk`.
//!
//! The SDKs come from PyPI into a folder that is kept. Where they cannot be had
//! the tests say SKIPPED, with the reason, on the real stderr, and pass.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Sandbox, masked, wait_until};

#[test]
fn an_openai_loop_killed_at_random_moments_ends_as_if_nothing_had_happened() {
    killed_at_random_moments("openai");
}

#[test]
fn an_anthropic_loop_killed_at_random_moments_ends_as_if_nothing_had_happened() {
    killed_at_random_moments("anthropic");
}

/// `AGENTGUARD_KILLS` says how many times something is killed, and
/// `AGENTGUARD_SEED` when and what.
fn killed_at_random_moments(sdk: &str) {
    let venv = match venv() {
        Ok(venv) => venv,
        Err(why) => return skipped(&format!("the {sdk} SDK cannot be had: {why}")),
    };
    let (wanted, seed) = (number("AGENTGUARD_KILLS", 6), number("AGENTGUARD_SEED", 7));
    println!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);

    let (want, whole) = uncut(sdk, venv);
    let mut kills = 0;
    while kills < wanted {
        let stage = Stage::new(sdk, venv);
        let mut killed_here = 0;
        loop {
            let cut = (kills < wanted).then(|| Cut::draw(&mut random, whole.working));
            let (code, killed) = stage.go_on(cut);
            kills += u64::from(killed);
            killed_here += u64::from(killed);
            if code == Some(0) {
                break;
            }
            assert!(
                killed,
                "nothing was killed, yet it ended with {code:?}: {}",
                stage.log()
            );
        }
        let context = format!(
            "{sdk}, seed {seed}, {killed_here} kills, in {}\n{}",
            stage.sandbox.path().display(),
            stage.log()
        );
        assert_eq!(stage.result(), want, "{context}");
        wait_until(10, "the run to leave no process", || {
            stage.left_over().is_empty()
        });
        // A kill loses at most the answer that was under way.
        let count = stage.model.count();
        assert_eq!(count["refused"], 0, "{context}");
        let paid = whole.replies..=whole.replies + killed_here;
        assert!(paid.contains(&count["replies"]), "{count:?}: {context}");
    }
    println!("{kills} kills");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Says so where a passing test is heard, too: the print macros are captured.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", module_path!());
}

/// What must be the same however often the run was cut.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: serde_json::Value,
    steps: u64,
    cost_usd: serde_json::Value,
    tokens_used: serde_json::Value,
    result: serde_json::Value,
    /// Message by message, as JSON; times and the folder masked.
    conversation: Vec<String>,
    /// Hashes of the commits, the latest first, with their subjects.
    commits: Vec<String>,
    /// What differs from the last commit.
    uncommitted: String,
    /// Contents by path, of the repository.
    files: BTreeMap<String, String>,
    /// Rows of the ledger by what they are: how often each effect happened.
    effects: BTreeMap<String, u64>,
}

/// What else is known about the run that nobody disturbed.
struct Whole {
    /// From the model's first answer to the end.
    working: Duration,
    /// Answers of the model.
    replies: u64,
}

fn uncut(sdk: &str, venv: &Path) -> (Outcome, Whole) {
    let stage = Stage::new(sdk, venv);
    let mut supervisor = stage.start(&["run", "task.yaml"]);
    stage.until_answered(&mut supervisor, 0);
    let first = Instant::now();
    let status = supervisor.wait().expect("a child of ours");
    let working = first.elapsed();
    assert_eq!(status.code(), Some(0), "{}", stage.log());
    let outcome = stage.result();
    let once = [
        "edit till/vat.py",
        "edit till/discount.py",
        "edit till/receipt.py",
    ]
    .into_iter()
    .chain(["time TILL-1 20", "time TILL-2 15", "time TILL-3 30"])
    .map(|what| (what.to_owned(), 1))
    .collect();
    assert_eq!(outcome.effects, once);
    assert_eq!(outcome.commits.len(), 4, "{outcome:#?}");
    assert_eq!(outcome.uncommitted, "");
    let count = stage.model.count();
    assert_eq!(count["replies"], outcome.steps, "a turn for every answer");
    assert_eq!(count["busy"], 1, "the SDK's own retry is part of it");
    let replies = count["replies"];
    (outcome, Whole { working, replies })
}

/// When something is killed, and what.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Whether the moment counts from the first new answer of the model, or
    /// from the launch, most of which is Python reading the SDK.
    after_answer: bool,
    wait: Duration,
    agent: bool,
    supervisor: bool,
}

impl Cut {
    /// - `working`: how long an undisturbed run works.
    fn draw(random: &mut rand_chacha::ChaCha8Rng, working: Duration) -> Self {
        let after_answer = random.random_range(0..4) != 0;
        let wait = working.mul_f64(random.random_range(0.0..0.35));
        let what = random.random_range(0..3);
        Self {
            after_answer,
            wait,
            agent: what != 1,
            supervisor: what != 0,
        }
    }
}

/// A folder with everything a run needs, and its model.
struct Stage {
    sandbox: Sandbox,
    model: Model,
    path: std::ffi::OsString,
}

impl Stage {
    fn new(sdk: &str, venv: &Path) -> Self {
        let sandbox = Sandbox::new();
        copy(&fixture(), sandbox.path());
        let task = sandbox.read("task.yaml");
        let chosen = task.replace("sdk: openai", &format!("sdk: {sdk}"));
        sandbox.write("task.yaml", &chosen);
        let python = venv.join("bin/python3");
        let made = Command::new(&python)
            .args(["-IS", "tools.py", "init"])
            .current_dir(sandbox.path())
            .output()
            .expect("the repository can be made");
        assert!(made.status.success(), "{made:?}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path).collect::<Vec<_>>();
        let path = std::env::join_paths([venv.join("bin")].into_iter().chain(path));
        Self {
            model: Model::start(&python, &sandbox.path().join("model.py")),
            sandbox,
            path: path.expect("it was split before"),
        }
    }

    fn start(&self, args: &[&str]) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.sandbox.path().join("log.txt"));
        let log = log.expect("a file of ours");
        self.sandbox
            .command(args)
            .env("PATH", &self.path)
            .env("OPENAI_BASE_URL", format!("{}/v1", self.model.url()))
            .env("OPENAI_API_KEY", "none")
            .env("ANTHROPIC_BASE_URL", self.model.url())
            .env("ANTHROPIC_API_KEY", "none")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    /// Runs or resumes, and cuts it if so asked.
    ///
    /// Returns the exit code, none after a signal, and whether anything was
    /// killed: the run may have ended before.
    fn go_on(&self, cut: Option<Cut>) -> (Option<i32>, bool) {
        let listed = self.sandbox.run(&["runs", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
        // There is none before the first start, nor when that was cut early.
        let args: &[&str] = match listed["runs"].as_array().expect("a list").is_empty() {
            true => &["run", "task.yaml"],
            false => &["resume", "latest"],
        };
        let before = self.model.count()["replies"];
        let mut supervisor = self.start(args);
        let mut killed = false;
        if let Some(cut) = cut {
            if cut.after_answer {
                self.until_answered(&mut supervisor, before);
            }
            // A moment that is a matter of chance, not a wait for anything.
            std::thread::sleep(cut.wait);
            if supervisor.try_wait().expect("a child of ours").is_none() {
                killed = self.kill(cut, &mut supervisor);
            }
        }
        let status = supervisor.wait().expect("a child of ours");
        let signal = status.signal();
        assert!(signal.is_none_or(|it| it == 9 && killed), "{}", self.log());
        (status.code(), killed)
    }

    fn kill(&self, cut: Cut, supervisor: &mut Child) -> bool {
        // Looked up first: the agent does not outlive its supervisor for long.
        let agent = if cut.agent {
            self.agent_of(supervisor)
        } else {
            None
        };
        let lives = supervisor.try_wait().expect("a child of ours").is_none();
        if cut.supervisor && lives {
            supervisor.kill().expect("a child of ours");
        }
        let agent_killed = agent.is_some_and(|it| kill_process(it, Signal::KILL).is_ok());
        (cut.supervisor && lives) || agent_killed
    }

    /// Waits for an answer of the model beyond `before`, or the run's end.
    fn until_answered(&self, supervisor: &mut Child, before: u64) {
        let until = Instant::now() + Duration::from_secs(120);
        while self.model.count()["replies"] <= before {
            if supervisor.try_wait().expect("a child of ours").is_some() {
                return;
            }
            assert!(Instant::now() < until, "no answer in 120 s: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Finds the agent by what it runs and where; waits until it is there.
    fn agent_of(&self, supervisor: &mut Child) -> Option<Pid> {
        let until = Instant::now() + Duration::from_secs(20);
        while supervisor.try_wait().expect("a child of ours").is_none() && Instant::now() < until {
            let found = self.processes();
            let agent = found.iter().find(|(_, line)| line == "python3 -u loop.py");
            if let Some((pid, _)) = agent {
                return Pid::from_raw(*pid);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Returns what still runs in the folder, besides the model.
    fn left_over(&self) -> Vec<String> {
        let model = self.model.child.id().cast_signed();
        let others = self.processes().into_iter();
        others
            .filter(|(pid, _)| *pid != model)
            .map(|(_, line)| line)
            .collect()
    }

    /// Returns the processes at work in the folder, with their command lines.
    fn processes(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir("/proc").expect("a system with /proc");
        entries
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let folder = fs::read_link(entry.path().join("cwd")).ok()?;
                let line = fs::read(entry.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                folder
                    .starts_with(self.sandbox.path())
                    .then(|| (pid, line.trim_end().to_owned()))
            })
            .collect()
    }

    fn log(&self) -> String {
        self.sandbox.read("log.txt")
    }

    fn result(&self) -> Outcome {
        let args = ["show", "latest", "--json", "--conversation"];
        let shown = self.sandbox.run(&args);
        assert_eq!(shown.code, 0, "{shown:?}");
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
        let conversation = shown["conversation"].as_array().expect("a list");
        Outcome {
            status: shown["status"].clone(),
            steps: shown["completed_steps"].as_u64().expect("a number"),
            cost_usd: shown["cost_usd"].clone(),
            tokens_used: shown["tokens_used"].clone(),
            result: shown["result"].clone(),
            conversation: conversation
                .iter()
                .map(|message| masked(&self.sandbox, &message.to_string()))
                .collect(),
            commits: lines(&self.git(&["log", "--format=%H %s"])),
            uncommitted: self.git(&["status", "--porcelain"]),
            files: lines(&self.git(&["ls-files"]))
                .into_iter()
                .map(|name| {
                    let text = self.sandbox.read(&format!("repo/{name}"));
                    (name, text)
                })
                .collect(),
            effects: self.effects(),
        }
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.sandbox.path().join("repo"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("git writes text")
    }

    fn effects(&self) -> BTreeMap<String, u64> {
        let db = rusqlite::Connection::open(self.sandbox.path().join("work.db")).expect("a ledger");
        let mut rows = db
            .prepare(
                "SELECT kind || ' ' || what || coalesce(' ' || minutes, ''), count(*)
                 FROM ledger GROUP BY 1",
            )
            .expect("a table");
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("rows")
            .map(|row| row.expect("a row"))
            .collect()
    }
}

/// The scripted model; gone when dropped, and when this process dies.
struct Model {
    child: Child,
    port: u16,
}

impl Model {
    fn start(python: &Path, script: &Path) -> Self {
        let mut child = Command::new(python)
            .arg("-IS")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the model starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the model says its port");
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns how many requests it answered, turned away and refused.
    fn count(&self) -> BTreeMap<String, u64> {
        let mut link = TcpStream::connect(("127.0.0.1", self.port)).expect("the model listens");
        link.write_all(b"GET /count HTTP/1.0\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        link.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("counts")
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the folder with the SDKs, made once and kept; or why there is none.
fn venv() -> Result<&'static Path, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(make_venv).as_ref();
    made.map(PathBuf::as_path).map_err(Clone::clone)
}

fn make_venv() -> Result<PathBuf, String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = kept.join("sdk-venv");
    let requirements = fixture().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("a fixture");
    // Another test process may be making it at this moment.
    let lock = fs::File::create(kept.join("sdk-venv.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;

    said(Command::new("git").arg("--version"))?;
    let ready = folder.join("ready");
    let works = || said(Command::new(folder.join("bin/python3")).arg("--version")).is_ok();
    if fs::read_to_string(&ready).is_ok_and(|made| made == wanted) && works() {
        return Ok(folder);
    }
    let make = ["-m", "venv", "--clear"];
    said(Command::new("python3").args(make).arg(&folder))?;
    let pip = "-m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 -r";
    let mut pip_install = Command::new(folder.join("bin/python3"));
    pip_install.args(pip.split(' ')).arg(&requirements);
    // Read once here instead of at every start of the agent.
    pip_install.env_remove("PYTHONDONTWRITEBYTECODE");
    said(&mut pip_install)?;
    fs::write(&ready, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Runs a command to its end; an error is its name and last words.
fn said(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let line = format!("`{name} {}`", args.join(" "));
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{line} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    Err(format!("{line} ended with {}: {words}", output.status))
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sdk")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder of ours");
    for entry in fs::read_dir(from).expect("a fixture").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a fixture");
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
