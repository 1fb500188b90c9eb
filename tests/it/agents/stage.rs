//! One run of one agent: its folder, its model, and the hand that kills it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::roster::{Agent, Start};
use crate::support::Sandbox;
use crate::support::model::Upstream;

/// What the agent is asked to do.
const PROMPT: &str = "Make the test pass: read test.sh, write the file that it wants, \
                      run `sh test.sh`, stop.";

/// What the test says when the file that it wants is right.
const TEST: &str = "[ \"$(sh add.sh 2 3)\" = 5 ] && echo PASS || { echo FAIL; exit 1; }\n";

/// Longest time that a run may take, in seconds.
const RUN_S_MAX: u64 = 150;

pub struct Stage {
    pub agent: &'static Agent,
    pub upstream: Upstream,
    pub sandbox: Sandbox,
    programs: PathBuf,
}

/// What the script costs, and how it goes wrong.
pub struct Costs {
    pub input_tokens: u64,
    /// Further keys of the script.
    pub rest: String,
}

impl Stage {
    /// - `fan`: the turn at which it asks that many times at once.
    /// - `limit_usd`: the cap.
    pub fn new(
        agent: &'static Agent,
        programs: &Path,
        script: &str,
        costs: &Costs,
        limit_usd: f64,
        fan: Option<(u64, u64)>,
    ) -> Self {
        let (tokens, rest) = (costs.input_tokens, &costs.rest);
        let script = format!(
            "usage: {{input: {tokens}, output: 1}}\nprice: {{input: 3, output: 0.15}}\n{rest}\n{script}"
        );
        let stage = Self {
            agent,
            upstream: Upstream::start(&script),
            sandbox: Sandbox::new(),
            programs: programs.to_owned(),
        };
        stage.sandbox.write("work/test.sh", TEST);
        stage.git(&["init", "-q"]);
        stage.git(&["add", "."]);
        stage.git(&["commit", "-qm", "the test"]);
        let task = stage.task(limit_usd, fan);
        stage.sandbox.write("task.yaml", &task.to_string());
        stage
    }

    fn task(&self, limit_usd: f64, fan: Option<(u64, u64)>) -> Value {
        let mut agent = json!({"protocol": "gateway", "cwd": "work", "grace": "2s"});
        match &self.agent.start {
            Start::Preset => agent["preset"] = json!(self.agent.name),
            Start::Command(words) => {
                agent["preset"] = json!(self.agent.name);
                agent["command"] = json!(words);
            }
            Start::Loop(file) => {
                let file = fixture(file).to_string_lossy().into_owned();
                let mut words = vec!["python3".to_owned(), file, PROMPT.to_owned()];
                words.extend(
                    fan.into_iter()
                        .flat_map(|(turn, count)| [turn.to_string(), count.to_string()]),
                );
                agent["command"] = json!(words);
            }
        }
        let price = json!({"input": 3, "output": 0.15});
        let prices: BTreeMap<_, _> = self
            .agent
            .models
            .iter()
            .map(|name| (name, &price))
            .collect();
        json!({
            "name": self.agent.name,
            "agent": agent,
            "input": {"prompt": PROMPT},
            "limits": {"cost_usd": limit_usd, "deadline": format!("{RUN_S_MAX}s")},
            "retry": {"base": "10ms"},
            "prices": prices,
        })
    }

    fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
            .args(args)
            .current_dir(self.sandbox.path().join("work"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output();
        let done = done.expect("git starts");
        assert!(done.status.success(), "{done:?}");
    }

    /// Starts the supervisor; what it and the agent say goes to the log.
    pub fn start(&self, args: &[&str]) -> Child {
        let path = self.sandbox.path().join("log.txt");
        let log = fs::File::options().create(true).append(true).open(path);
        let log = log.expect("a file of ours");
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
        let folders = std::env::join_paths([self.programs.clone()].into_iter().chain(folders));
        let mut command = self.sandbox.command(args);
        command
            .env("PATH", folders.expect("it was split before"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .env("ANTHROPIC_BASE_URL", self.upstream.url())
            .env("OPENAI_BASE_URL", format!("{}/v1", self.upstream.url()))
            .env("GOOGLE_GEMINI_BASE_URL", self.upstream.url());
        for key in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"] {
            command.env(key, "the-real-key");
        }
        let other = log.try_clone().expect("a file of ours");
        command
            .stdout(log)
            .stderr(other)
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    /// Runs a command to its end; returns its exit code.
    pub fn finish(&self, args: &[&str]) -> i32 {
        self.wait(&mut self.start(args))
    }

    /// Waits for the end of a supervisor.
    pub fn wait(&self, supervisor: &mut Child) -> i32 {
        let until = Instant::now() + Duration::from_secs(RUN_S_MAX + 60);
        loop {
            if let Some(status) = supervisor.try_wait().expect("a child of ours") {
                let signal = status.signal().unwrap_or(0);
                return status.code().unwrap_or(128 + signal);
            }
            if Instant::now() > until {
                self.kill_everything(supervisor);
                panic!("the run does not end: {}", self.told());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the supervisor, its guardian, the agent and all below at one moment;
    /// tells whether the run was still under way.
    pub fn kill_everything(&self, supervisor: &mut Child) -> bool {
        if supervisor.try_wait().expect("a child of ours").is_some() {
            return false;
        }
        let root = supervisor.id().cast_signed();
        let mut known = BTreeSet::new();
        // Held first, so that nobody can react to the death of another.
        loop {
            let found = self.below(root);
            let new: Vec<i32> = found.difference(&known).copied().collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                send(pid, Signal::STOP);
                known.insert(pid);
            }
        }
        for pid in &known {
            send(*pid, Signal::KILL);
        }
        let status = supervisor.wait().expect("a child of ours");
        // What it stood on is ours now, and other tests look for zombies of ours.
        for pid in known
            .iter()
            .filter_map(|pid| rustix::process::Pid::from_raw(*pid))
        {
            for _ in 0..50 {
                let nohang = rustix::process::WaitOptions::NOHANG;
                match rustix::process::waitpid(Some(pid), nohang) {
                    // Dying still; a child of ours that is no more, or none.
                    Ok(None) => std::thread::park_timeout(std::time::Duration::from_millis(10)),
                    Ok(Some(_)) | Err(_) => break,
                }
            }
        }
        status.signal() == Some(9)
    }

    /// Finds a process, all that descend from it, and all that work in the folder.
    fn below(&self, root: i32) -> BTreeSet<i32> {
        let mut parents = BTreeMap::new();
        let mut found = BTreeSet::from([root]);
        for entry in fs::read_dir("/proc")
            .expect("a system with /proc")
            .flatten()
        {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let behind = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let mut fields = behind.split(' ');
            let is_dead = fields.next() == Some("Z");
            if let (false, Some(Ok(parent))) = (is_dead, fields.next().map(str::parse::<i32>)) {
                parents.insert(pid, parent);
            }
            let works = fs::read_link(entry.path().join("cwd"));
            if works.is_ok_and(|folder| folder.starts_with(self.sandbox.path())) {
                found.insert(pid);
            }
        }
        loop {
            let before = found.len();
            let below = parents.iter().filter(|(_, parent)| found.contains(parent));
            let below: Vec<i32> = below.map(|(pid, _)| *pid).collect();
            found.extend(below);
            if found.len() == before {
                return found;
            }
        }
    }

    /// Reports whether the task is done: the file is there, and the test passes.
    pub fn is_repaired(&self) -> bool {
        let done = Command::new("sh")
            .arg("test.sh")
            .current_dir(self.sandbox.path().join("work"))
            .output();
        done.expect("a shell").status.success()
    }

    /// Returns what reached the model.
    pub fn ledger(&self) -> Ledger {
        Ledger(self.upstream.ledger())
    }

    /// Returns what the run cost by the journal, in nano-USD.
    pub fn cost(&self) -> u64 {
        let cost = self.sandbox.report()["cost_usd"].clone();
        let usd: f64 = cost
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an amount");
        (usd * 1e9).round() as u64
    }

    /// Returns all that helps to understand a failure.
    pub fn told(&self) -> String {
        let log = self.sandbox.read("log.txt");
        let tail = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
        let why = self.sandbox.run(&["why", "latest"]).stdout;
        let ledger = self.ledger();
        let folder = self.sandbox.path().display();
        format!(
            "in {folder}\nledger: {}\nlog: {}\nwhy: {why}",
            ledger.lines(),
            &log[tail..]
        )
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Returns a file of `fixtures/agents`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/agents")
        .join(name)
}

/// What reached the scripted model.
pub struct Ledger(Value);

impl Ledger {
    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().expect("a number")
    }

    /// Requests in all.
    pub fn calls(&self) -> u64 {
        self.number("calls")
    }

    /// Requests that faults of the script made fail.
    pub fn faults(&self) -> u64 {
        self.number("faults")
    }

    /// Requests beside the conversation.
    pub fn sides(&self) -> u64 {
        self.number("sides")
    }

    /// What was billed, in nano-USD.
    pub fn cost(&self) -> u64 {
        self.number("cost_nano_usd")
    }

    fn requests(&self) -> &[Value] {
        self.0["requests"].as_array().expect("a list")
    }

    /// The turn of the latest request that has one.
    pub fn latest_turn(&self) -> u64 {
        let turns = self.requests().iter().rev();
        turns
            .filter_map(|it| it["turn"].as_u64())
            .next()
            .unwrap_or(0)
    }

    /// How often each turn of the conversation was billed.
    pub fn billed(&self) -> BTreeMap<u64, u64> {
        let mut billed = BTreeMap::new();
        for request in self.requests() {
            if let (Some(turn), Some(1..)) =
                (request["turn"].as_u64(), request["cost_nano_usd"].as_u64())
            {
                *billed.entry(turn).or_default() += 1;
            }
        }
        billed
    }

    /// Requests that say that the agent's client tries again.
    pub fn tried_again_by_the_client(&self) -> usize {
        let again = |it: &&Value| it["retry_count"].as_u64().is_some_and(|count| count > 0);
        self.requests().iter().filter(again).count()
    }

    /// A line for each request.
    pub fn lines(&self) -> String {
        let line = |it: &Value| {
            format!(
                "\n  {} {} turn {} {} {} {} {}",
                it["nth"],
                it["model"],
                it["turn"],
                it["outcome"],
                it["fault"],
                it["why"],
                it["cost_nano_usd"]
            )
        };
        self.requests().iter().map(line).collect()
    }
}
