//! Agents from npm and PyPI, installed once and kept.
//!
//! `AGENTGUARD_AGENTS_CACHE` names the folder, else it is `agentguard-tests` in the
//! user's cache. Each agent has a folder by name and version; a lock keeps others
//! out while it is filled, and the mark `ready` comes last and by a rename, so an
//! install that was cut off is made anew. (The folder itself cannot be renamed into
//! place: a Python environment knows where it was made.)

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where a package comes from.
pub enum Package {
    /// The registry of npm.
    Npm(&'static str),
    /// The registry of Python; `NAME==VERSION` and what it forgets to name.
    Python(&'static [&'static str]),
}

/// Longest time that an install may take.
const PATIENCE: Duration = Duration::from_secs(400);

/// Returns the folder with the programs of a package; or why it cannot be had.
pub fn install(name: &str, version: &str, package: &Package) -> Result<PathBuf, String> {
    let cache = cache()?;
    let folder = cache.join(format!("{name}-{version}"));
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&cache).map_err(said)?;
    // Another test process may be making it at this moment.
    let lock = File::create(cache.join(format!("{name}-{version}.lock"))).map_err(said)?;
    lock.lock().map_err(said)?;
    let programs = match package {
        Package::Npm(_) => folder.join("node_modules/.bin"),
        Package::Python(_) => folder.join("bin"),
    };
    let (ready, wanted) = (folder.join("ready"), wanted(version, package));
    if fs::read_to_string(&ready).is_ok_and(|made| made == wanted) {
        return Ok(programs);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(said)?;
    }
    fs::create_dir_all(&folder).map_err(said)?;
    match package {
        Package::Npm(_) => npm(&folder, &wanted)?,
        Package::Python(packages) => python(&folder, packages)?,
    }
    let mark = folder.join("ready.new");
    fs::write(&mark, wanted)
        .and_then(|()| fs::rename(&mark, &ready))
        .map_err(said)?;
    Ok(programs)
}

fn cache() -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("AGENTGUARD_AGENTS_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("agentguard-tests")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/agentguard-tests")))
        .ok_or_else(|| "neither AGENTGUARD_AGENTS_CACHE nor HOME is set".to_owned())
}

fn wanted(version: &str, package: &Package) -> String {
    match package {
        Package::Npm(name) => format!("{name}@{version}"),
        Package::Python(packages) => packages.join(" "),
    }
}

fn npm(folder: &Path, package: &str) -> Result<(), String> {
    let args = "install --no-fund --no-audit --loglevel=error --fetch-retries=1 --prefix";
    let mut npm = Command::new("npm");
    npm.args(args.split(' ')).arg(folder).arg(package);
    succeed(&mut npm)
}

fn python(folder: &Path, packages: &[&str]) -> Result<(), String> {
    succeed(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
    )?;
    let args = "-m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20";
    let mut pip = Command::new(folder.join("bin/python3"));
    pip.args(args.split(' ')).args(packages);
    // Read once here instead of at every start of the agent.
    pip.env_remove("PYTHONDONTWRITEBYTECODE");
    succeed(&mut pip)
}

/// Runs a command to its end; an error is its name and last words.
fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let words = tempfile()?;
    let log = || words.1.try_clone().map_err(|error| error.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .spawn()
        .map_err(|error| format!("`{name}` does not start: {error}"))?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break Ok(status);
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            break Err(format!("`{name}` took more than {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = fs::read_to_string(&words.0).unwrap_or_default();
    let _ = fs::remove_file(&words.0);
    match status? {
        status if status.success() => Ok(()),
        status => Err(format!("`{name}` ended with {status}: {}", said.trim())),
    }
}

fn tempfile() -> Result<(PathBuf, File), String> {
    let name = format!(
        "agentguard-install-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let file = File::create(&path).map_err(|error| error.to_string())?;
    Ok((path, file))
}
