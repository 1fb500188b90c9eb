//! The protocol over a Unix socket.
//!
//! The socket has an unguessable name in a folder only its user can enter, and
//! a peer of another user is turned away all the same. Socket paths are short
//! by nature (108 bytes on Linux, 104 on macOS): where the state folder is too
//! deep, a private folder below the temporary one takes its place.
//!
//! The socket is removed when [`Socket`] is dropped. After a `kill -9` it stays
//! behind; the next [`Socket::bind`] sweeps what nobody listens to any more.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::connection::{self, Manner};
use super::frame::{self, Error as FrameError};
use super::hub::{Hub, Notice};

/// A socket's path is shorter than this, in bytes.
pub const PATH_BYTES_MAX: usize = 100;
/// The folder below the state folder.
const FOLDER: &str = "sockets";
/// What every socket's name ends with.
const SUFFIX: &str = "sock";
/// A socket younger than this is never swept: its owner may be about to listen.
const SWEEP_AGE: Duration = Duration::from_secs(60);
/// Most leftovers swept at once.
const SWEEP_MAX: usize = 256;
/// The wait after a failed accept (such as no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The private folder could not be made.
    #[error("cannot make the private folder {path}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The folder is there and belongs to someone else.
    #[error("{path} is not a folder of this user", path = .path.display())]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
    },

    /// The socket could not be made.
    #[error("cannot listen on {path}", path = .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns the next thing the reader can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Folder { .. } | Self::Listen { .. } => {
                Some("make the state folder writable, or name another one".into())
            }
            Self::ForeignFolder { path } => Some(format!(
                "remove {} or name another state folder",
                path.display()
            )),
        }
    }
}

/// A listening socket and its connections. Ends when dropped.
#[derive(Debug)]
pub struct Socket {
    place: Place,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Socket {
    /// Listens on a new socket below `state_dir`, or below the temporary folder
    /// where that path is too long. Must be called within a tokio runtime.
    ///
    /// Errors: the folder or the socket cannot be made, or the folder belongs
    /// to someone else.
    pub fn bind(hub: &Hub, state_dir: &Path) -> Result<Self, Error> {
        let place = Place::make(state_dir, &std::env::temp_dir())?;
        let listen = |source| Error::Listen {
            path: place.socket.clone(),
            source,
        };
        let listener = UnixListener::bind(&place.socket).map_err(listen)?;
        fs::set_permissions(&place.socket, fs::Permissions::from_mode(0o600)).map_err(listen)?;
        let (closing, closed) = watch::channel(false);
        let accepting = tokio::spawn(accept(hub.clone(), listener, closed));
        Ok(Self {
            place,
            closing,
            accepting,
        })
    }

    /// Returns the path for `AGENTGUARD_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.place.socket
    }

    /// Takes no more connections or requests, writes the answers already sent
    /// for at most `grace`, and removes the socket.
    pub async fn close(mut self, grace: Duration) {
        self.place.remove();
        self.closing.send_replace(true);
        let _ = tokio::time::timeout(grace, &mut self.accepting).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections until closing, then waits for them to end.
async fn accept(hub: Hub, listener: UnixListener, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(hub.limits().connections_max));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connection::closed(&mut closing) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => match admit(&hub, &stream, &places) {
                Ok((pid, place)) => {
                    let (hub, closing) = (hub.clone(), closing.clone());
                    connections.spawn(async move {
                        let manner = Manner {
                            pid,
                            garbage_in_a_row_max: Some(hub.limits().garbage_in_a_row_max),
                            stray: None,
                            gone: gone_check(&stream),
                        };
                        let (reader, writer) = stream.into_split();
                        connection::serve(hub, reader, writer, manner, closing).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    turn_away(stream, &error);
                    hub.notice(Notice::TurnedAway { error });
                }
            },
            Err(error) => {
                hub.notice(Notice::AcceptFailed {
                    why: error.to_string(),
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns how to tell that a peer has closed both sides. Half-closed peers
/// still read; only Linux tells the two apart for certain.
fn gone_check(stream: &UnixStream) -> Option<connection::Gone> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let socket = stream.as_fd().try_clone_to_owned().ok()?;
    Some(Box::new(move || {
        let mut asked = [PollFd::new(&socket, PollFlags::empty())];
        let polled = rustix::event::poll(
            &mut asked,
            Some(&rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        );
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }))
}

/// Lets a peer in: its process, and its place among the connections.
fn admit(
    hub: &Hub,
    stream: &UnixStream,
    places: &Arc<Semaphore>,
) -> Result<(Option<i32>, tokio::sync::OwnedSemaphorePermit), FrameError> {
    let peer = stream.peer_cred().map_err(|error| FrameError::Internal {
        what: error.to_string(),
    })?;
    check_user(peer.uid(), rustix::process::geteuid().as_raw())?;
    let connections_max = hub.limits().connections_max;
    let full = |_| FrameError::TooManyConnections { connections_max };
    let place = Arc::clone(places).try_acquire_owned().map_err(full)?;
    Ok((peer.pid(), place))
}

fn check_user(peer: u32, ours: u32) -> Result<(), FrameError> {
    if peer == ours {
        Ok(())
    } else {
        Err(FrameError::Foreign { uid: peer })
    }
}

/// Tells a peer why it is not let in, as far as that takes no waiting.
fn turn_away(stream: UnixStream, error: &FrameError) {
    let frame = frame::render_answer(None, &Err(error.clone()));
    if let Ok(mut stream) = stream.into_std() {
        // Still non-blocking; a new socket has room for one frame.
        let _ = stream.write(frame.as_bytes());
    }
}

/// Where the socket is, and what to remove with it.
#[derive(Debug)]
struct Place {
    socket: PathBuf,
    /// The private folder made for this socket alone.
    folder: Option<PathBuf>,
}

impl Place {
    /// Makes the folder and a name that is free.
    fn make(state_dir: &Path, temp_dir: &Path) -> Result<Self, Error> {
        let folder = state_dir.join(FOLDER);
        let socket = folder.join(format!("{}.{SUFFIX}", random_name()));
        if is_short(&socket) {
            make_private(&folder)?;
            sweep(&folder);
            return Ok(Self {
                socket,
                folder: None,
            });
        }
        let name = format!("ag-{}", random_name());
        let in_temp = temp_dir.join(&name);
        let folder = if is_short(&in_temp.join(SUFFIX)) {
            in_temp
        } else {
            Path::new("/tmp").join(&name)
        };
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|source| Error::Folder {
            path: folder.clone(),
            source,
        })?;
        Ok(Self {
            socket: folder.join(SUFFIX),
            folder: Some(folder),
        })
    }

    fn remove(&self) {
        // Gone already is as good; anything else is swept by a later run.
        let _ = fs::remove_file(&self.socket);
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}

fn is_short(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() < PATH_BYTES_MAX
}

/// Returns 16 letters and digits of 80 random bits.
fn random_name() -> String {
    let bits: u128 = rand::random();
    let alphabet = b"0123456789abcdefghjkmnpqrstvwxyz";
    (0..16)
        .map(|place| alphabet[(bits >> (place * 5)) as usize & 31] as char)
        .collect()
}

/// Makes a folder that only this user can enter, or makes sure that it is one.
fn make_private(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Folder {
        path: folder.to_owned(),
        source,
    };
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // A link would lead out of the state folder.
    let found = fs::symlink_metadata(folder).map_err(failed)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::ForeignFolder {
            path: folder.to_owned(),
        });
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Removes the sockets of supervisors that were killed. What cannot be removed
/// stays; it is in nobody's way.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().take(SWEEP_MAX) {
        let path = entry.path();
        let named = path
            .extension()
            .is_some_and(|extension| extension == SUFFIX);
        let modified = entry.metadata().and_then(|data| data.modified()).ok();
        let age = modified.and_then(|modified| modified.elapsed().ok());
        if named && age.is_some_and(|age| age > SWEEP_AGE) && is_deserted(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_deserted(socket: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    BlockingStream::connect(socket).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_is_let_in() {
        // A second user cannot be had in a test; the decision can.
        assert_eq!(check_user(1000, 1000), Ok(()));
        assert_eq!(check_user(0, 1000), Err(FrameError::Foreign { uid: 0 }));
    }

    #[test]
    fn a_deep_state_folder_gets_a_short_private_place_instead() {
        let temp = crate::channel::tests::Folder::new();
        let deep = temp.path().join("d".repeat(120));
        let place = Place::make(&deep, temp.path()).unwrap();
        assert!(is_short(&place.socket), "{:?}", place.socket);
        let folder = place.folder.clone().unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        drop(place);
        assert!(!folder.exists(), "removed with the socket");
        assert!(!deep.exists(), "the deep folder is left alone");
    }

    #[test]
    fn leftovers_that_nobody_listens_to_are_swept_when_they_are_old() {
        let temp = crate::channel::tests::Folder::new();
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let make = |name: &str, at: Option<std::time::SystemTime>| {
            let path = temp.path().join(name);
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            if let Some(at) = at {
                let seconds = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                let stamp = rustix::fs::Timespec {
                    tv_sec: seconds as i64,
                    tv_nsec: 0,
                };
                let times = rustix::fs::Timestamps {
                    last_access: stamp,
                    last_modification: stamp,
                };
                rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
                    .unwrap();
            }
            (path, listener)
        };
        let (dead, listener) = make("dead.sock", Some(old));
        drop(listener);
        let (young, listener) = make("young.sock", None);
        drop(listener);
        let (live, _listener) = make("live.sock", Some(old));
        sweep(temp.path());
        assert_eq!(
            (dead.exists(), young.exists(), live.exists()),
            (false, true, true)
        );
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_refused() {
        let temp = crate::channel::tests::Folder::new();
        std::os::unix::fs::symlink("/", temp.path().join(FOLDER)).unwrap();
        let refused = Place::make(temp.path(), temp.path());
        assert!(
            matches!(refused, Err(Error::ForeignFolder { .. })),
            "{refused:?}"
        );
    }
}
