//! Real children: how they end, what they write, and that none stays behind.
//!
//! Linux has the guarantees tested here; elsewhere the room is best effort.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio as StdStdio};
use std::time::Duration;

use agentguard::ids::CallId;
use agentguard::process::{
    Agent, Error, ExecLimits, Exit, Launcher, Mark, Output, OutputFiles, Spec, Stdin, Stdio, exec,
    sweep_marked,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::children::*;

/// What agents and tools do to escape. Each writes the pids of what it starts
/// to `pids`; the second column says how many.
#[rustfmt::skip]
const ESCAPES: [(&str, usize, &str); 7] = [
    ("a plain child and grandchild", 2,
     "sh -c 'echo $$ >>pids; sleep 1000 & echo $! >>pids; wait' & wait"),
    ("it ignores SIGTERM", 1,
     "trap '' TERM; echo $$ >>pids; while :; do sleep 1000; done"),
    ("its child has a session of its own", 1,
     "setsid sh -c 'trap \"\" TERM HUP; echo $$ >>pids; sleep 1000; sleep 1000' & wait"),
    ("a daemon: two forks, own session, no environment", 1,
     "setsid env -i /bin/sh -c '(trap \"\" TERM HUP; exec /bin/sh -c \"echo \\$\\$ >>pids; sleep 1000; sleep 1000\") & exit 0' & sleep 1000"),
    ("its child is stopped", 1,
     "sh -c 'echo $$ >>pids; kill -STOP $$' & wait"),
    ("its child closed all it had", 1,
     "setsid sh -c 'exec <&- >&- 2>&-; echo $$ >>pids; sleep 1000; sleep 1000' & wait"),
    ("many children", 40,
     "for i in 1 2 3 4 5 6 7 8; do sh -c 'for j in 1 2 3 4 5; do sleep 1000 & echo $! >>pids; done; wait' & done; wait"),
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn call() -> Mark {
    Mark::call(run_id(), CallId(1))
}

/// Runs a shell script as a tool call.
async fn run(folder: &Folder, script: &str, limits: ExecLimits) -> agentguard::process::Executed {
    exec(
        &launcher(),
        &shell(folder, script),
        &call(),
        limits,
        folder.files(),
    )
    .await
    .unwrap()
}

#[test]
fn exits_are_reported_as_they_are() {
    #[rustfmt::skip]
    let rows = [
        ("success", "exit 0", Exit::Code(0)),
        ("failure", "exit 7", Exit::Code(7)),
        ("the largest status", "exit 255", Exit::Code(255)),
        ("a status that looks like a signal", "exit 137", Exit::Code(137)),
        ("killed", "kill -KILL $$", Exit::Signal(9)),
        ("asked to end", "kill -TERM $$", Exit::Signal(15)),
        ("crashed", "kill -SEGV $$", Exit::Signal(11)),
        ("a command the shell does not find", "no-such-command 2>&1", Exit::Code(127)),
        ("it went on after being stopped", "(sleep 0.1; kill -CONT $$) & kill -STOP $$; exit 4", Exit::Code(4)),
    ];
    runtime().block_on(async {
        for (name, script, want) in rows {
            let folder = Folder::new();
            let done = run(&folder, script, limits()).await;
            assert_eq!((done.exit, done.timed_out), (want, false), "row: {name}");
        }
    });
}

#[test]
fn output_is_kept_whatever_it_is() {
    #[rustfmt::skip]
    let rows: [(&str, &str, &[u8], &str, bool); 6] = [
        ("both streams, apart", "echo out; echo err >&2", b"out\n", "out\n", true),
        ("invalid UTF-8", r"printf 'a\377\376b'", b"a\xff\xfeb", "a\u{fffd}\u{fffd}b", false),
        ("NUL bytes", r"printf 'a\000b'", b"a\0b", "a\0b", true),
        ("nothing", ":", b"", "", true),
        ("stdout closed by the tool", "echo one; exec >&-; echo two", b"one\n", "one\n", true),
        ("written after the command's own end", "(sleep 0.05; echo late) & echo soon", b"soon\nlate\n", "soon\nlate\n", true),
    ];
    runtime().block_on(async {
        for (name, script, bytes, text, is_utf8) in rows {
            let folder = Folder::new();
            let done = run(&folder, script, limits()).await;
            assert_eq!(
                fs::read(folder.files().stdout).unwrap(),
                bytes,
                "row: {name}"
            );
            let seen = (
                done.stdout.text.as_str(),
                done.stdout.is_utf8,
                done.stdout.truncated,
            );
            assert_eq!(seen, (text, is_utf8, false), "row: {name}");
            assert_eq!(done.stdout.bytes_total, bytes.len() as u64, "row: {name}");
            let mode = fs::metadata(folder.files().stdout)
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "row: {name}");
        }
    });
}

#[test]
fn long_output_is_whole_on_disk_and_bounded_in_memory() {
    let folder = Folder::new();
    let limits = ExecLimits {
        keep_bytes: 20,
        ..limits()
    };
    let done = runtime().block_on(run(&folder, "seq 1 100000", limits));
    assert_eq!(
        done.stdout.text,
        "1\n2\n3\n4\n5\n[... 588875 bytes left out ...]\n99\n100000\n"
    );
    assert!(done.stdout.truncated && done.stdout.is_utf8);
    assert_eq!(
        (done.stdout.bytes_total, done.stdout.bytes_on_disk),
        (588_895, 588_895)
    );
    assert_eq!(folder.read("stdout").lines().count(), 100_000);
}

#[test]
fn a_full_disk_is_reported_and_ends_nothing() {
    let folder = Folder::new();
    let full = OutputFiles {
        stdout: "/dev/full".into(),
        stderr: folder.files().stderr,
    };
    let spec = shell(&folder, "seq 1 100000; exit 5");
    let done = runtime()
        .block_on(exec(&launcher(), &spec, &call(), limits(), full))
        .unwrap();
    assert_eq!(done.exit, Exit::Code(5));
    assert_eq!(
        (done.stdout.bytes_total, done.stdout.bytes_on_disk),
        (588_895, 0)
    );
    assert_eq!(
        done.stdout.disk_error.as_deref(),
        Some("No space left on device (os error 28)")
    );

    let limits = ExecLimits {
        disk_bytes_max: 1000,
        ..limits()
    };
    let done = runtime().block_on(run(&folder, "seq 1 100000; exit 6", limits));
    assert_eq!(
        (done.exit, done.stdout.bytes_on_disk),
        (Exit::Code(6), 1000)
    );
    assert_eq!(
        done.stdout.disk_error.as_deref(),
        Some("the limit of 1000 bytes is reached")
    );
    assert_eq!(fs::metadata(folder.files().stdout).unwrap().len(), 1000);
}

#[test]
fn a_flood_of_a_gigabyte_is_captured_in_bounded_memory() {
    let folder = Folder::new();
    let before = resident_bytes();
    let done = runtime().block_on(run(&folder, "head -c 1073741824 /dev/zero", limits()));
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(
        (done.exit, done.stdout.bytes_total),
        (Exit::Code(0), 1 << 30)
    );
    assert_eq!(fs::metadata(folder.files().stdout).unwrap().len(), 1 << 30);
    assert!(done.stdout.text.len() < 70_000);
    // Other tests run beside this one; a buffered gigabyte would still show.
    assert!(grown < 200 << 20, "grew by {grown} bytes");
    println!(
        "1 GiB in {} ms, {} MB/s",
        done.took_ms,
        (1 << 30) / 1000 / done.took_ms.max(1)
    );
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn stdin_is_written_without_a_deadlock() {
    let input: Vec<u8> = (0..10 << 20)
        .map(|index: u32| (index % 251) as u8)
        .collect();
    #[rustfmt::skip]
    let rows = [
        ("all is read and comes back", "cat", Stdin::Bytes(input.clone()), input.len() as u64),
        ("nothing is read", "exec <&-; echo done", Stdin::Bytes(input.clone()), 5),
        ("a little is read", "head -c 3", Stdin::Bytes(input.clone()), 3),
        ("output comes before input is read", "seq 1 100000; wc -c", Stdin::Bytes(input.clone()), 588_895 + 9),
        ("no input", "cat; readlink /proc/self/fd/0", Stdin::Null, 10),
        ("a pipe nobody writes to is at its end", "cat", Stdin::Piped, 0),
    ];
    runtime().block_on(async {
        for (name, script, stdin, want) in rows {
            let folder = Folder::new();
            let spec = shell(&folder, script).stdin(stdin);
            let done = exec(&launcher(), &spec, &call(), limits(), folder.files())
                .await
                .unwrap();
            assert_eq!(
                (done.exit, done.stdout.bytes_total),
                (Exit::Code(0), want),
                "row: {name}"
            );
            if want == input.len() as u64 {
                assert!(
                    fs::read(folder.files().stdout).unwrap() == input,
                    "row: {name}"
                );
            }
        }
    });
}

#[test]
fn a_child_gets_what_is_listed_and_nothing_else() {
    // A descriptor that we inherited ourselves, and that nobody marked.
    let folder = Folder::new();
    let file = File::open(folder.path()).unwrap();
    let leaky = rustix::io::dup(file.as_fd()).unwrap();
    let run = run_id();
    let mark = Mark::call(run.clone(), CallId(12));
    let path = std::env::var("PATH").unwrap();
    // `ls` itself opens the folder it lists.
    let spec = shell(
        &folder,
        "ls /proc/self/fd; env; ps -o sid=,pgid=,tty= -p $$; pwd",
    )
    .env("KEY", "value");
    let done = runtime()
        .block_on(exec(&launcher(), &spec, &mark, limits(), folder.files()))
        .unwrap();
    drop(leaky);
    let lines: Vec<&str> = done.stdout.text.lines().collect();
    assert_eq!(lines[..4], ["0", "1", "2", "3"], "{lines:?}");
    let (env, rest): (Vec<&str>, Vec<&str>) =
        lines[4..].iter().partition(|line| line.contains('='));
    let mut env: Vec<&str> = env
        .into_iter()
        .filter(|line| !line.starts_with("PWD="))
        .collect();
    env.retain(|line| {
        !line.starts_with("_=") && !line.starts_with("SHLVL=") && !line.starts_with("OLDPWD=")
    });
    env.sort_unstable();
    let (run, path) = (format!("AGENTGUARD_RUN_ID={run}"), format!("PATH={path}"));
    assert_eq!(env, ["AGENTGUARD_CALL_ID=12", &run, "KEY=value", &path]);
    assert_eq!(*rest.last().unwrap(), folder.path().to_str().unwrap());
    if rest.len() > 1 {
        let ids: Vec<&str> = rest[0].split_whitespace().collect();
        assert_ne!(
            ids[0], ids[1],
            "a group of its own within the guardian's session"
        );
        assert_eq!(ids[2], "?", "no terminal");
    }
}

#[test]
fn what_cannot_start_is_an_error_that_says_why() {
    let folder = Folder::new();
    let long = "x".repeat(3 << 20);
    let no_output = OutputFiles {
        stdout: "/no/such/out".into(),
        stderr: folder.files().stderr,
    };
    #[rustfmt::skip]
    let rows = [
        ("no such program", Spec::new(["./none"], folder.path()), folder.files(),
         "cannot find the program `./none`".to_owned()),
        ("no such folder", Spec::new(["sh"], "/no/such"), folder.files(),
         "cannot start in /no/such: it does not exist".to_owned()),
        ("too long", Spec::new(["/bin/sh", "-c", &long], folder.path()), folder.files(),
         "the arguments and environment of `/bin/sh` are too long, 3145740 bytes".to_owned()),
        ("no folder for the output", Spec::new(["/bin/sh"], folder.path()), no_output,
         "cannot write the output to /no/such/out".to_owned()),
    ];
    runtime().block_on(async {
        for (name, spec, files, want) in rows {
            let error = exec(&launcher(), &spec, &call(), limits(), files)
                .await
                .expect_err(name);
            assert_eq!(error.to_string(), want, "row: {name}");
        }
        for program in ["/no/such/agentguard", "/bin/true"] {
            let spec = shell(&folder, ":");
            let error = exec(
                &Launcher::at(program),
                &spec,
                &call(),
                limits(),
                folder.files(),
            )
            .await;
            assert!(
                matches!(error, Err(Error::Shim { .. })),
                "{program}: {error:?}"
            );
        }
        eventually_async("no zombie of a failed start is left", || {
            own_zombies().is_empty()
        })
        .await;
    });
}

#[test]
fn a_timeout_ends_all_beneath_the_call() {
    runtime().block_on(async {
        for (name, count, script) in ESCAPES {
            let folder = Folder::new();
            // Long enough for all to be there, which is checked below.
            let limits = ExecLimits {
                timeout_ms: 1500,
                grace_ms: 100,
                ..limits()
            };
            let done = run(&folder, script, limits).await;
            let swept = done.swept.clone().unwrap_or_default();
            assert!(
                done.timed_out && matches!(done.exit, Exit::Signal(_)),
                "row: {name}: {done:?}"
            );
            assert!(
                done.took_ms >= 1500 && !done.left_running,
                "row: {name}: {done:?}"
            );
            assert_eq!(swept.survivors, [], "row: {name}");
            let pids = folder.pids();
            assert_eq!(pids.len(), count, "row: {name}");
            assert_eq!(
                pids.iter().filter(|pid| is_alive(**pid)).count(),
                0,
                "row: {name}"
            );
        }
    });
}

#[test]
fn one_that_ends_when_asked_is_not_killed() {
    let folder = Folder::new();
    let script = "trap 'echo bye; exit 3' TERM; while :; do sleep 0.01; done";
    let limits = ExecLimits {
        timeout_ms: 300,
        grace_ms: 30_000,
        ..limits()
    };
    let done = runtime().block_on(run(&folder, script, limits));
    assert_eq!(
        (done.exit, done.stdout.text.as_str()),
        (Exit::Code(3), "bye\n")
    );
    let swept = done.swept.unwrap();
    assert!(swept.asked >= 1 && swept.killed == 0, "{swept:?}");
}

#[test]
fn what_a_call_leaves_behind_does_not_hold_it_up_and_goes_with_the_run() {
    let folder = Folder::new();
    let mark = call();
    // The output stays open, and written to: it must not die of that.
    let script = "(while :; do echo more; sleep 0.01; done) & echo $! >>pids; \
                  setsid env -i sleep 1000 & echo $! >>pids; echo started";
    runtime().block_on(async {
        let spec = shell(&folder, script);
        let done = exec(&launcher(), &spec, &mark, limits(), folder.files())
            .await
            .unwrap();
        assert_eq!(done.exit, Exit::Code(0));
        assert!(done.left_running && done.took_ms < 30_000, "{done:?}");
        assert!(
            done.stdout.text.starts_with("started\n") || done.stdout.text.starts_with("more\n")
        );
        let bytes = fs::metadata(folder.files().stdout).unwrap().len();
        assert_eq!(
            bytes, done.stdout.bytes_on_disk,
            "later output is not recorded"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        let pids = folder.pids();
        assert!(
            pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)),
            "{pids:?}"
        );
        let swept = sweep_marked(&Mark::run(mark.run_id().clone()), 100).await;
        assert!(swept.asked >= 2 && swept.survivors.is_empty(), "{swept:?}");
        assert!(!pids.iter().any(|pid| is_alive(*pid)));
        eventually_async("its guardian is gone too", || own_zombies().is_empty()).await;
    });
}

#[test]
fn a_call_that_is_dropped_is_ended() {
    let folder = Folder::new();
    let (launcher, mark) = (launcher(), call());
    let spec = shell(&folder, ESCAPES[3].2);
    runtime().block_on(async {
        let running = exec(&launcher, &spec, &mark, limits(), folder.files());
        tokio::select! {
            _ = running => panic!("it does not end by itself"),
            () = eventually_async("it runs", || folder.pids().len() == 1) => {}
        }
        let gone = || !folder.pids().iter().any(|pid| is_alive(*pid));
        eventually_async("all beneath it is gone", gone).await;
        eventually_async("no zombie is left", || own_zombies().is_empty()).await;
    });
}

#[test]
fn ending_an_agent_leaves_nothing() {
    runtime().block_on(async {
        for (name, count, script) in ESCAPES {
            let folder = Folder::new();
            let spec = shell(&folder, script);
            let stdio = Stdio {
                stdout: Output::Piped,
                stderr: Output::Null,
            };
            let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
                .await
                .unwrap();
            let mut stdout = agent.take_stdout().unwrap();
            eventually_async(name, || folder.pids().len() == count).await;
            let swept = agent.end(50).await;
            assert_eq!(swept.survivors, [], "row: {name}");
            assert!(
                !folder.pids().iter().any(|pid| is_alive(*pid)),
                "row: {name}"
            );
            assert!(
                !is_alive(agent.pid()) && !is_alive(agent.shim_pid()),
                "row: {name}"
            );
            // With all gone, the pipe is at its end.
            stdout.read_to_end(&mut Vec::new()).await.unwrap();
            assert!(
                matches!(agent.exited().await, Exit::Signal(_)),
                "row: {name}"
            );
            assert_eq!(
                agent.end(50).await,
                Default::default(),
                "row: {name}: nothing to end twice"
            );
        }
        eventually_async("no zombie is left", || own_zombies().is_empty()).await;
    });
}

#[test]
fn an_agent_talks_over_its_pipes_and_its_exit_is_told_again_and_again() {
    let folder = Folder::new();
    let script =
        "read line; echo \"got $line\"; echo oops >&2; setsid sleep 1000 & echo $! >>pids; exit 9";
    runtime().block_on(async {
        let spec = shell(&folder, script).stdin(Stdin::Piped);
        let mark = Mark::run(run_id());
        let mut agent = Agent::start(&launcher(), &spec, &mark, Stdio::default())
            .await
            .unwrap();
        // Asked too early, given up, asked again: nothing is lost.
        assert!(
            tokio::time::timeout(Duration::from_millis(20), agent.exited())
                .await
                .is_err()
        );
        let mut stdin = agent.take_stdin().unwrap();
        stdin.write_all(b"hello\n").await.unwrap();
        assert_eq!(
            (agent.exited().await, agent.exited().await),
            (Exit::Code(9), Exit::Code(9))
        );
        let mut stdout = agent.take_stdout().unwrap();
        let mut line = [0; 10];
        stdout.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"got hello\n");
        // What it left holds the pipe, and is there until the end.
        let [left] = folder.pids()[..] else {
            panic!("one pid")
        };
        assert!(is_alive(left));
        let swept = agent.end(1000).await;
        assert_eq!((swept.asked, swept.killed), (1, 0));
        assert!(!is_alive(left));
        stdout.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(agent.take_stdout().is_none() && agent.take_stdin().is_none());
    });
}

#[test]
fn an_agent_reads_its_input_and_writes_to_a_file() {
    let folder = Folder::new();
    let file = File::create(folder.path().join("out")).unwrap();
    runtime().block_on(async {
        let spec = shell(&folder, "cat").stdin(Stdin::Bytes(vec![b'x'; 3 << 20]));
        let stdio = Stdio {
            stdout: Output::File(file),
            stderr: Output::Inherit,
        };
        let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
            .await
            .unwrap();
        assert_eq!(agent.exited().await, Exit::Code(0));
        agent.end(0).await;
    });
    assert_eq!(folder.read("out").len(), 3 << 20);
}

#[test]
fn ending_an_agent_leaves_its_tools_and_ending_the_run_does_not() {
    let (folder, tool_folder) = (Folder::new(), Folder::new());
    let run = run_id();
    runtime().block_on(async {
        let spec = shell(&folder, "sleep 1000");
        let mark = Mark::run(run.clone());
        let mut agent = Agent::start(&launcher(), &spec, &mark, Stdio::default())
            .await
            .unwrap();
        let launcher = launcher();
        let tool = shell(
            &tool_folder,
            "echo $$ >>pids; trap '' TERM; while [ ! -e go ]; do sleep 0.01; done; echo done",
        );
        let tool_mark = Mark::call(run.clone(), CallId(1));
        let calling = exec(&launcher, &tool, &tool_mark, limits(), tool_folder.files());
        let ending = async {
            eventually_async("the tool runs", || !tool_folder.pids().is_empty()).await;
            agent.end(50).await;
            assert!(is_alive(tool_folder.pids()[0]), "the tool goes on");
            fs::write(tool_folder.path().join("go"), "").unwrap();
        };
        let (done, ()) = tokio::join!(calling, ending);
        assert_eq!(done.unwrap().stdout.text, "done\n");

        let stubborn = shell(
            &tool_folder,
            "echo $$ >pids; trap '' TERM; while :; do sleep 1000; done",
        );
        fs::write(tool_folder.path().join("pids"), "").unwrap();
        let calling = exec(
            &launcher,
            &stubborn,
            &tool_mark,
            limits(),
            tool_folder.files(),
        );
        let sweeping = async {
            eventually_async("the tool runs", || !tool_folder.pids().is_empty()).await;
            sweep_marked(&mark, 50).await
        };
        let (done, swept) = tokio::join!(calling, sweeping);
        assert_eq!(done.unwrap().exit, Exit::Signal(9));
        assert!(swept.killed >= 1 && swept.survivors.is_empty(), "{swept:?}");
    });
}

#[test]
fn one_that_forks_and_exits_over_and_over_is_caught() {
    let folder = Folder::new();
    // Each generation lives for about a millisecond. Bounded, should it win.
    let worm = "[ $1 -lt 100000 ] || exit; echo $1 >last; sh ./worm $(($1+1)) & exit";
    fs::write(folder.path().join("worm"), worm).unwrap();
    runtime().block_on(async {
        let spec = shell(&folder, "sh ./worm 0 & sh ./worm 0 & sleep 1000");
        let stdio = Stdio {
            stdout: Output::Null,
            stderr: Output::Null,
        };
        let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
            .await
            .unwrap();
        let generation = || folder.read("last").trim().parse::<u64>().unwrap_or(0);
        eventually_async("it is on its way", || generation() > 20).await;
        let swept = agent.end(50).await;
        assert_eq!(swept.survivors, []);
        let stopped_at = folder.read("last");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(folder.read("last"), stopped_at, "it does not go on");
    });
}

#[test]
fn a_storm_of_forks_is_ended() {
    let folder = Folder::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do setsid sh -c '
        trap \"\" TERM; n=0
        while [ $n -lt 2000 ]; do n=$((n+1)); sleep 30 & [ $((n % 15)) = 0 ] && wait; done' & done
        sleep 1; echo $$ >>pids; sleep 1000";
    runtime().block_on(async {
        let run = run_id();
        let spec = shell(&folder, script);
        let stdio = Stdio {
            stdout: Output::Null,
            stderr: Output::Null,
        };
        let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run.clone()), stdio)
            .await
            .unwrap();
        eventually_async("it rages", || !folder.pids().is_empty()).await;
        let begun = std::time::Instant::now();
        let swept = agent.end(50).await;
        println!(
            "storm: {} asked, {} killed in {:?}",
            swept.asked,
            swept.killed,
            begun.elapsed()
        );
        assert!(swept.asked > 50 && swept.survivors.is_empty(), "{swept:?}");
        assert_eq!(sweep_marked(&Mark::run(run), 0).await, Default::default());
    });
}

#[test]
fn a_killed_guardian_takes_the_agent_along_and_the_rest_is_swept() {
    for (name, count, script) in ESCAPES {
        let folder = Folder::new();
        runtime().block_on(async {
            let spec = shell(&folder, script);
            let stdio = Stdio {
                stdout: Output::Null,
                stderr: Output::Null,
            };
            let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
                .await
                .unwrap();
            eventually_async(name, || folder.pids().len() == count).await;
            send("-KILL", agent.shim_pid());
            let exit = agent.exited().await;
            assert!(
                matches!(exit, Exit::Signal(9) | Exit::Lost),
                "row: {name}: {exit:?}"
            );
            let swept = agent.end(50).await;
            assert_eq!(swept.survivors, [], "row: {name}");
            assert!(
                !folder.pids().iter().any(|pid| is_alive(*pid)),
                "row: {name}"
            );
            eventually_async("no zombie is left", || own_zombies().is_empty()).await;
        });
    }
}

/// Starts this test binary as a supervisor of its own, with an agent that
/// escapes in the given way. Returns it and the pid of its shim.
fn start_supervisor(folder: &Folder, script: &str, run: &str) -> (std::process::Child, i32) {
    let supervisor = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "process::a_supervisor_for_other_tests",
            "--ignored",
            "--nocapture",
        ])
        .env("AGENTGUARD_TEST_FOLDER", folder.path())
        .env("AGENTGUARD_TEST_SCRIPT", script)
        .env("AGENTGUARD_TEST_RUN", run)
        .stdin(StdStdio::null())
        .stdout(StdStdio::null())
        .spawn()
        .unwrap();
    eventually("the supervisor has started its agent", || {
        !folder.read("shim").is_empty()
    });
    (supervisor, folder.read("shim").trim().parse().unwrap())
}

#[test]
#[ignore = "the other process of some tests here"]
fn a_supervisor_for_other_tests() {
    let Some(path) = std::env::var_os("AGENTGUARD_TEST_FOLDER") else {
        return;
    };
    let script = std::env::var("AGENTGUARD_TEST_SCRIPT").unwrap();
    let run: agentguard::ids::RunId = std::env::var("AGENTGUARD_TEST_RUN")
        .unwrap()
        .parse()
        .unwrap();
    runtime().block_on(async {
        let path = std::path::Path::new(&path);
        let env_path = std::env::var_os("PATH").unwrap_or_default();
        let spec = |script: &str| Spec::new(["sh", "-c", script], path).env("PATH", &env_path);
        let stdio = Stdio {
            stdout: Output::Null,
            stderr: Output::Null,
        };
        let launcher = launcher();
        let mark = Mark::run(run.clone());
        let agent = Agent::start(&launcher, &spec(&script), &mark, stdio)
            .await
            .unwrap();
        fs::write(path.join("shim.tmp"), format!("{}\n", agent.shim_pid())).unwrap();
        fs::rename(path.join("shim.tmp"), path.join("shim")).unwrap();
        // A tool call under way, with a daemon of its own, unless told otherwise.
        let files = OutputFiles {
            stdout: path.join("tool-out"),
            stderr: path.join("tool-err"),
        };
        let tool =
            spec("setsid env -i /bin/sh -c 'echo $$ >>pids; sleep 1000; sleep 1000' & sleep 1000");
        let mark = Mark::call(run, CallId(1));
        exec(
            &launcher,
            &tool,
            &mark,
            ExecLimits {
                timeout_ms: 600_000,
                ..limits()
            },
            files,
        )
        .await
        .unwrap();
        drop(agent);
    });
}

/// Runs a test again in a process of its own; returns whether this is that one.
///
/// Orphans fall to the nearest subreaper. Here that would be the process in
/// which the other tests sweep, and what a guardian missed would be gone
/// nevertheless. The process of its own adopts them, and does nothing to them.
fn is_alone(test: &str) -> bool {
    if std::env::var_os("AGENTGUARD_TEST_ALONE").is_some() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("AGENTGUARD_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{test}, alone:\n{said}");
    false
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    if !is_alone("process::nothing_outlives_a_supervisor_that_is_killed") {
        return;
    }
    for (name, count, script) in ESCAPES {
        let folder = Folder::new();
        let (mut supervisor, shim) = start_supervisor(&folder, script, run_id().as_str());
        // One more: the daemon of the tool call.
        eventually(name, || folder.pids().len() == count + 1);
        let pids = folder.pids();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        let gone = || !pids.iter().chain([&shim]).any(|pid| is_alive(*pid));
        eventually(name, gone);
        assert_eq!(
            folder.pids().len(),
            count + 1,
            "row: {name}: nothing came later"
        );
    }
}

#[test]
fn the_sweep_before_a_resume_finds_what_even_the_guardian_missed() {
    if !is_alone("process::the_sweep_before_a_resume_finds_what_even_the_guardian_missed") {
        return;
    }
    let folder = Folder::new();
    let run = run_id();
    let (mut supervisor, shim) = start_supervisor(&folder, ESCAPES[3].2, run.as_str());
    eventually("the daemons run", || folder.pids().len() == 2);
    let pids = folder.pids();
    // Stopped, the guardian cannot see that its supervisor dies.
    send("-STOP", shim);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert!(pids.iter().any(|pid| is_alive(*pid)));
    let swept = runtime().block_on(sweep_marked(&Mark::run(run), 50));
    assert_eq!(swept.survivors, []);
    assert!(
        !pids.iter().chain([&shim]).any(|pid| is_alive(*pid)),
        "{swept:?}"
    );
}

#[test]
fn a_sweep_spares_other_runs_and_those_it_stands_on() {
    let folder = Folder::new();
    let (run, other) = (run_id(), run_id());
    runtime().block_on(async {
        let spec = shell(&folder, "sleep 1000");
        let mut agent = Agent::start(&launcher(), &spec, &Mark::run(other), Stdio::default())
            .await
            .unwrap();
        // As from a shell that the run left behind: only the mark tells of it.
        let mut marked = Command::new("sleep")
            .arg("1000")
            .env("AGENTGUARD_RUN_ID", run.as_str())
            .spawn()
            .unwrap();
        let swept = sweep_marked(&Mark::run(run), 1000).await;
        assert_eq!((swept.asked, swept.killed, swept.survivors), (1, 0, vec![]));
        assert!(!marked.wait().unwrap().success());
        assert!(is_alive(agent.pid()));
        agent.end(1000).await;
    });
}

#[test]
fn python_daemons_are_no_different() {
    if !has("python3") {
        return;
    }
    let script = r#"
import os, signal, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 3)
        with open("pids", "a") as pids: pids.write(f"{os.getpid()}\n")
        while True: time.sleep(1000)
    os._exit(0)
os.execve("/bin/sh", ["sh", "-c", "echo $$ >>pids; trap '' TERM; while :; do sleep 1000; done"], {})
"#;
    let folder = Folder::new();
    fs::write(folder.path().join("agent.py"), script).unwrap();
    runtime().block_on(async {
        let spec = shell(&folder, "exec python3 agent.py");
        let stdio = Stdio {
            stdout: Output::Null,
            stderr: Output::Null,
        };
        let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
            .await
            .unwrap();
        eventually_async("both run", || folder.pids().len() == 2).await;
        let swept = agent.end(50).await;
        assert!(swept.killed >= 2 && swept.survivors.is_empty(), "{swept:?}");
        assert!(!folder.pids().iter().any(|pid| is_alive(*pid)));
    });
}

#[test]
#[ignore = "prints times; run it alone, with --release"]
fn times() {
    runtime().block_on(async {
        let folder = Folder::new();
        let spec = Spec::new(["/bin/true"], folder.path());
        let (mut starts, mut ends, mut execs) = (vec![], vec![], vec![]);
        for _ in 0..100 {
            let stdio = Stdio {
                stdout: Output::Null,
                stderr: Output::Null,
            };
            let begun = std::time::Instant::now();
            let mut agent = Agent::start(&launcher(), &spec, &Mark::run(run_id()), stdio)
                .await
                .unwrap();
            starts.push(begun.elapsed());
            agent.exited().await;
            let begun = std::time::Instant::now();
            agent.end(1000).await;
            ends.push(begun.elapsed());
            let begun = std::time::Instant::now();
            exec(&launcher(), &spec, &call(), limits(), folder.files())
                .await
                .unwrap();
            execs.push(begun.elapsed());
        }
        let mut bare: Vec<_> = (0..100)
            .map(|_| {
                let begun = std::time::Instant::now();
                Command::new("/bin/true").status().unwrap();
                begun.elapsed()
            })
            .collect();
        for (name, times) in [
            ("agent start", &mut starts),
            ("agent end", &mut ends),
            ("exec", &mut execs),
            ("bare spawn and wait", &mut bare),
        ] {
            times.sort();
            println!("{name}: p50 {:?}, p95 {:?}", times[50], times[95]);
        }
    });
}
