//! Well-behaved peers: one and many, over the socket and over stdio.

use serde_json::json;

use super::*;
use crate::channel::client::{self, Client};
use crate::channel::flags;
use crate::channel::frame::Error;
use crate::channel::hub::RequestNo;
use crate::channel::stdio::Stdio;

#[tokio::test]
async fn answers_go_to_their_request_in_any_order() {
    let mut bench = Bench::new(Limits::default());
    let (mut one, mut two) = (bench.peer().await, bench.peer().await);
    one.write(turn_line(1) + &turn_line(2)).await;
    two.write(r#"{"jsonrpc":"2.0","id":"x","method":"state"}"#.to_owned() + "\n")
        .await;
    let mut requests = vec![];
    for _ in 0..3 {
        requests.push(bench.request().await);
    }
    for incoming in requests.iter().rev() {
        bench
            .answers
            .send(incoming.request, Ok(go(step_of(&incoming.call) + 100)));
    }
    assert_eq!(two.read().await.unwrap()["id"], json!("x"));
    let mut got = vec![];
    for _ in 0..2 {
        let frame = one.read().await.unwrap();
        got.push((
            frame["id"].as_u64().unwrap(),
            frame["result"]["step"].as_u64().unwrap(),
        ));
    }
    assert_eq!(got, [(2, 102), (1, 101)]);
}

#[tokio::test]
async fn requests_of_one_connection_arrive_in_their_order() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write((1..=50).map(turn_line).collect::<String>())
        .await;
    for step in 1..=50 {
        let incoming = bench.request().await;
        assert_eq!(step_of(&incoming.call), step);
        assert_eq!(incoming.request, RequestNo(step));
    }
}

#[tokio::test]
async fn a_notification_is_carried_out_and_not_answered() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write("{\"jsonrpc\":\"2.0\",\"method\":\"turn\"}\n".to_owned() + &turn_line(1))
        .await;
    let incoming = bench.request().await;
    assert!(incoming.notification);
    bench.answers.send(incoming.request, Ok(go(7)));
    let incoming = bench.request().await;
    bench.answers.send(incoming.request, Ok(go(1)));
    assert_eq!(peer.read().await.unwrap()["id"], json!(1));
    assert_eq!(bench.answers.open_count(), 0);
}

#[tokio::test]
async fn a_peer_that_ends_its_side_still_gets_its_answers() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write(turn_line(1)).await;
    peer.writer.shutdown().await.unwrap();
    let incoming = bench.request().await;
    bench.answers.send(incoming.request, Ok(go(1)));
    assert_eq!(peer.code().await, 0);
    assert_eq!(peer.read().await, None);
    assert_eq!(bench.ended().await, (Ended::ByPeer, 0));
}

#[tokio::test]
async fn an_answer_to_a_peer_that_has_gone_is_no_matter() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write(turn_line(1)).await;
    let incoming = bench.request().await;
    drop(peer);
    bench.answers.send(incoming.request, Ok(go(1)));
    bench.answers.send(incoming.request, Ok(go(1)));
    bench.answers.send(RequestNo(999), Ok(go(1)));
    // The write fails, or went into a socket nobody reads: either is an end.
    let (reason, _) = bench.ended().await;
    assert!(
        matches!(reason, Ended::Broken { .. } | Ended::ByPeer),
        "{reason:?}"
    );
    let mut next = bench.peer().await;
    next.write(turn_line(2)).await;
    let incoming = bench.request().await;
    bench.answers.send(incoming.request, Ok(go(2)));
    assert_eq!(next.code().await, 0);
}

#[tokio::test]
async fn closing_sends_what_was_answered_and_removes_the_socket() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write(turn_line(1) + &turn_line(2)).await;
    let (first, _second) = (bench.request().await, bench.request().await);
    bench.answers.send(first.request, Ok(go(1)));
    let stopping = Error::Stopping {
        reason: "budget".into(),
        exit_code: 20,
    };
    bench.answers.refuse_open(&stopping);
    let path = bench.socket.path().to_owned();
    assert!(path.exists());
    soon(bench.socket.close(DEADLINE)).await;
    assert!(!path.exists());
    assert_eq!(peer.code().await, 0);
    assert_eq!(peer.code().await, -32003);
    assert_eq!(peer.read().await, None);
    drop((bench.folder, bench.hub));
}

#[tokio::test]
async fn dropping_the_socket_removes_it_and_its_connections() {
    let bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    let path = bench.socket.path().to_owned();
    drop(bench);
    assert!(!path.exists());
    assert_eq!(peer.read().await, None);
}

#[tokio::test]
async fn the_folder_and_the_socket_are_private() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new(Limits::default());
    let path = bench.socket.path();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(
        path.file_name().unwrap().len(),
        "0123456789abcdef.sock".len()
    );
}

#[tokio::test]
async fn the_blocking_client_asks_and_understands() {
    let mut bench = Bench::new(Limits::default());
    let path = bench.socket.path().to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&path).unwrap();
        let flags = flags::TurnFlags {
            step: Some(5),
            ..flags::TurnFlags::default()
        };
        let params = flags::turn(&flags).unwrap();
        let first = client.ask("turn", &params, Some(DEADLINE)).unwrap();
        let second = client.ask("turn", &params, Some(DEADLINE)).unwrap_err();
        let third = client
            .ask("turn", &params, Some(Duration::from_millis(1)))
            .unwrap_err();
        let fourth = client.ask("turn", &params, None).unwrap_err();
        (first, second, third, fourth)
    });
    let incoming = bench.request().await;
    bench.answers.send(incoming.request, Ok(go(5)));
    let incoming = bench.request().await;
    let wrong = Error::WrongStep {
        expected: StepNo(6),
        found: StepNo(5),
    };
    bench.answers.send(incoming.request, Err(wrong));
    // The third is never answered; the fourth sees the supervisor go.
    let _ = bench.request().await;
    let _ = bench.request().await;
    drop(bench);
    let (first, second, third, fourth) = asking.await.unwrap();
    assert_eq!(client::told(&first).verdict.as_deref(), Some("go"));
    assert!(
        matches!(second, client::Error::Refused { code: -32004, .. }),
        "{second:?}"
    );
    assert_eq!(
        third.to_string(),
        "no answer to `turn` within 1 ms; it may still be carried out"
    );
    assert!(
        matches!(fourth, client::Error::Unanswered { .. }),
        "{fourth:?}"
    );
}

#[tokio::test]
async fn stdio_is_the_same_and_forgives_stray_prints() {
    let (hub, mut arrivals) = super::super::open(Limits::default());
    let (child_out, our_in) = tokio::io::duplex(1024);
    let (our_out, child_in) = tokio::io::duplex(1024);
    let (strays, mut stray) = tokio::sync::mpsc::unbounded_channel();
    let keep = move |line: &[u8]| drop(strays.send(String::from_utf8_lossy(line).into_owned()));
    let stdio = Stdio::attach(&hub, our_in, our_out, Some(1), keep);
    let (mut child_out, mut child_in) = (child_out, BufReader::new(child_in));
    // More prints than any socket connection would be allowed, unread.
    let writing = tokio::spawn(async move {
        for line in 0..1000 {
            child_out
                .write_all(format!("working {line}\n").as_bytes())
                .await
                .unwrap();
        }
        child_out.write_all(turn_line(1).as_bytes()).await.unwrap();
        child_out
    });
    let incoming = loop {
        if let Arrival::Request(incoming) = soon(arrivals.recv()).await.unwrap() {
            break incoming;
        }
    };
    hub.answers().send(incoming.request, Ok(go(1)));
    let mut refused = 0;
    loop {
        let mut line = String::new();
        soon(child_in.read_line(&mut line)).await.unwrap();
        let frame: serde_json::Value = serde_json::from_str(&line).unwrap();
        if frame["id"] == json!(1) {
            break;
        }
        assert_eq!(frame["error"]["code"], json!(-32700));
        refused += 1;
    }
    assert!(
        (1..1000).contains(&refused),
        "{refused} errors, the rest dropped"
    );
    for line in 0..1000 {
        assert_eq!(stray.recv().await.unwrap(), format!("working {line}"));
    }
    drop(writing.await.unwrap());
    soon(stdio.close(DEADLINE)).await;
    let mut rest = String::new();
    assert_eq!(
        soon(child_in.read_line(&mut rest)).await.unwrap(),
        0,
        "stdin is closed"
    );
}

#[tokio::test]
async fn a_shell_loop_speaks_over_its_own_stdin_and_stdout() {
    let (hub, mut arrivals) = super::super::open(Limits::default());
    let script =
        r#"printf '%s\n' "$1"; IFS= read -r answer; case $answer in *'"step":5'*) exit 3;; esac"#;
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", script, "sh", turn_line(5).trim_end()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stdout, stdin) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let mut stdio = Stdio::attach(&hub, stdout, stdin, None, |_: &[u8]| {});
    let incoming = loop {
        if let Arrival::Request(incoming) = soon(arrivals.recv()).await.unwrap() {
            break incoming;
        }
    };
    hub.answers().send(incoming.request, Ok(go(5)));
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(3));
    soon(stdio.ended()).await;
}
