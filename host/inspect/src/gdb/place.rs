//! Where a client connects, and waiting for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{self, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where to listen: `PORT`, `ADDRESS:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By TCP. Without an address on the loopback interface alone, at port 0 where one is free.
    Tcp {
        /// The address, if one was said.
        address: Option<IpAddr>,
        /// The port.
        port: u16,
    },
    /// A socket in the file system, which is made.
    Unix(PathBuf),
}

impl Default for Place {
    fn default() -> Self {
        Self::Tcp { address: None, port: 0 }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("it names no file after unix:".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let (address, port) = match text.rsplit_once(':') {
            None => (None, text),
            Some((address, port)) => {
                let number = address.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
                let number = number.unwrap_or(address).parse().map_err(|_| {
                    format!(
                        "{address:?} is no address in numbers; say 127.0.0.1:1234 or [::1]:1234"
                    )
                })?;
                (Some(number), port)
            }
        };
        let port = port.parse().map_err(|_| {
            format!("{port} is no port (0 to 65535); say PORT, ADDRESS:PORT or unix:PATH")
        })?;
        Ok(Self::Tcp { address, port })
    }
}

/// Why there is no place for a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It cannot be listened at.
    #[error("cannot wait for gdb at {place}: {source}{}", hint(.source))]
    Listen {
        /// The place.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is a file, and none of a debugger that is gone.
    #[error("cannot wait for gdb at {path}: there is a file of that name; name another")]
    Exists {
        /// Its path.
        path: String,
    },
    /// No client came.
    #[error("no gdb connected: {0}")]
    Accept(io::Error),
}

/// What to do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; name another place, or none, for a port that is free",
        io::ErrorKind::PermissionDenied => "; ports from 1024 on and your own directories are free",
        _ => "",
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf, #[expect(dead_code, reason = "it is held")] Claim),
}

/// Who has it is the only one to wait at a path, and this ends with the process: an abstract socket
/// (unix(7)) named for the path. Whether one waits could be found out by connecting as well, but that
/// would be the client for which it waits.
#[derive(Debug)]
struct Claim(#[expect(dead_code, reason = "it is held")] UnixDatagram);

impl Claim {
    /// Fails with `AddrInUse` where another has it.
    fn take(path: &Path) -> io::Result<Self> {
        /// Bytes of such a name at most, less those before the file's.
        const ROOM: usize = 107 - "portcall-gdb ".len() - 2 * 17;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).metadata()?;
        let file = path.file_name().unwrap_or_default().as_bytes();
        let mut name = format!("portcall-gdb {:x} {:x} ", folder.dev(), folder.ino()).into_bytes();
        name.extend(&file[file.len().saturating_sub(ROOM)..]);
        let name = net::SocketAddr::from_abstract_name(name)?;
        UnixDatagram::bind_addr(&name).map(Self)
    }
}

/// A place at which one client is waited for. A socket's file goes with it.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Takes the place.
    ///
    /// # Errors
    /// It is taken, or not to be had.
    pub fn open(place: &Place) -> Result<Self, PlaceError> {
        match place {
            Place::Unix(path) => Self::unix(path),
            Place::Tcp { address, port } => {
                let at = SocketAddr::new(address.unwrap_or(Ipv4Addr::LOCALHOST.into()), *port);
                let listen = || {
                    let listener = TcpListener::bind(at)?;
                    listener.set_nonblocking(true)?;
                    let at = listener.local_addr()?;
                    Ok(Self(Socket::Tcp(listener, at)))
                };
                listen().map_err(|source| PlaceError::Listen { place: at.to_string(), source })
            }
        }
    }

    fn unix(path: &Path) -> Result<Self, PlaceError> {
        let shown = path.display().to_string();
        let failed = |source| PlaceError::Listen { place: shown.clone(), source };
        let claim = Claim::take(path).map_err(failed)?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(PlaceError::Exists { path: shown });
            }
            // One that nobody listens at is what a debugger that was killed has left behind.
            Ok(_) if is_stale(path) => _ = std::fs::remove_file(path),
            _ => {}
        }
        let listen = || {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(Self(Socket::Unix(listener, path.to_owned(), claim)))
        };
        listen().map_err(failed)
    }

    /// What a client has to say: gdb's `target remote WHERE`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Socket::Tcp(_, at) => at.to_string(),
            Socket::Unix(_, path, _) => path.display().to_string(),
        }
    }

    /// Waits for the one client, which is the first that says something; `None` where `given_up` says
    /// so, which is asked several times a second.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn accept(self, mut given_up: impl FnMut() -> bool) -> Result<Option<Client>, PlaceError> {
        // Who looks whether a port is open says nothing, and may stay.
        let mut silent: Vec<Client> = Vec::new();
        while !given_up() {
            let accepted = match &self.0 {
                Socket::Tcp(listener, _) => listener.accept().map(|it| Stream::Tcp(it.0)),
                Socket::Unix(listener, ..) => listener.accept().map(|it| Stream::Unix(it.0)),
            };
            match accepted {
                Ok(stream) => {
                    if silent.len() == MOST_SILENT {
                        silent.remove(0);
                    }
                    silent.push(Client::of(stream).map_err(PlaceError::Accept)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let fd = match &self.0 {
                        Socket::Tcp(listener, _) => listener.as_fd(),
                        Socket::Unix(listener, ..) => listener.as_fd(),
                    };
                    let fds = silent.iter().map(Client::fd).chain([fd]);
                    any_ready(fds, libc::POLLIN, LOOK).map_err(PlaceError::Accept)?;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(PlaceError::Accept(error)),
            }
            let mut kept = Vec::new();
            for client in silent {
                match client.first_byte() {
                    Ok(Some(1)) => return Ok(Some(client)),
                    Ok(None) => kept.push(client),
                    // It is gone.
                    Ok(_) | Err(_) => {}
                }
            }
            silent = kept;
        }
        Ok(None)
    }
}

/// How many that say nothing are kept beside each other: one more, and the one that came first goes.
const MOST_SILENT: usize = 16;

/// A client that was gone before it was let in (accept(2)), or a signal.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path, _) = &self.0 {
            // Someone else may have taken it away.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether it is a socket that nobody listens at. None of a debugger that waits: that one has the
/// [`Claim`].
fn is_stale(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused)
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A client that is connected. Nothing of it blocks for longer than it is told to.
#[derive(Debug)]
pub struct Client(Stream);

/// How often what waits looks whether it still should.
pub(super) const LOOK: Duration = Duration::from_millis(100);

impl Client {
    fn of(stream: Stream) -> io::Result<Self> {
        match &stream {
            Stream::Tcp(it) => {
                it.set_nonblocking(true)?;
                // Each packet is waited for.
                it.set_nodelay(true)?;
            }
            Stream::Unix(it) => it.set_nonblocking(true)?,
        }
        Ok(Self(stream))
    }

    /// Whether its first byte is there, which stays where it is: `None` where there is none yet, 0
    /// where none will come.
    fn first_byte(&self) -> io::Result<Option<usize>> {
        let (fd, mut byte) = (self.fd().as_raw_fd(), 0u8);
        // SAFETY: `byte` is writable for as many bytes; the socket is one that does not block.
        count(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) })
    }

    /// A further handle of the same connection.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self(match &self.0 {
            Stream::Tcp(it) => Stream::Tcp(it.try_clone()?),
            Stream::Unix(it) => Stream::Unix(it.try_clone()?),
        }))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Stream::Tcp(it) => it.as_fd(),
            Stream::Unix(it) => it.as_fd(),
        }
    }

    /// Bytes that are there, waited for so long: `None` where there are none yet, 0 at the end.
    ///
    /// By read(2) and write(2), which the jail lets through for any open file; recv and send it does
    /// not.
    pub(super) fn read(&self, bytes: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        if !ready(self.fd(), libc::POLLIN, patience)? {
            return Ok(None);
        }
        // SAFETY: `bytes` is writable for as many bytes.
        let done =
            unsafe { libc::read(self.fd().as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        count(done)
    }

    /// Writes what fits now: `None` where nothing does in that time.
    pub(super) fn write(&self, bytes: &[u8], patience: Duration) -> io::Result<Option<usize>> {
        if !ready(self.fd(), libc::POLLOUT, patience)? {
            return Ok(None);
        }
        // SAFETY: `bytes` is readable for as many bytes.
        let done =
            unsafe { libc::write(self.fd().as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        count(done)
    }
}

/// What read(2) and write(2) give.
fn count(done: isize) -> io::Result<Option<usize>> {
    if let Ok(done) = usize::try_from(done) {
        return Ok(Some(done));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

/// Waits; a signal is no error, and ends it.
fn ready(fd: BorrowedFd<'_>, events: i16, patience: Duration) -> io::Result<bool> {
    any_ready([fd], events, patience)
}

/// The same for one of several.
fn any_ready<'a>(
    fds: impl IntoIterator<Item = BorrowedFd<'a>>,
    events: i16,
    patience: Duration,
) -> io::Result<bool> {
    let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let mut polls: Vec<_> = fds.into_iter().map(entry).collect();
    let time = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `polls` are as many valid entries for the call's duration.
    match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, time) } {
        -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(false),
        -1 => Err(io::Error::last_os_error()),
        found => Ok(found > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::{Listener, MOST_SILENT, Place, PlaceError, Socket};
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    #[test]
    fn loopback_is_meant_where_no_address_is_said() {
        let tcp = |address: Option<&str>, port| {
            Ok(Place::Tcp { address: address.map(|it| it.parse().expect("numbers")), port })
        };
        assert_eq!("1234".parse(), tcp(None, 1234));
        assert_eq!("0.0.0.0:1".parse(), tcp(Some("0.0.0.0"), 1));
        assert_eq!("[::1]:1".parse(), tcp(Some("::1"), 1));
        assert_eq!("unix:a:b".parse(), Ok(Place::Unix("a:b".into())));
        for wrong in ["", "x", "65536", ":1", "unix:", "a:b", "-1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
        let listener = Listener::open(&Place::default()).expect("a port is free");
        assert!(listener.name().starts_with("127.0.0.1:"), "{}", listener.name());
    }

    #[test]
    fn what_is_taken_is_said_and_what_was_left_behind_is_not_in_the_way() {
        let one = Listener::open(&Place::default()).expect("a port is free");
        let taken = one.name().parse().expect("an address and a port");
        let error = Listener::open(&taken).expect_err("it is taken");
        assert!(error.to_string().contains("name another place"), "{error}");

        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| Place::Unix(folder.path().join(name));
        std::fs::write(folder.path().join("file"), "mine").expect("written");
        let error = Listener::open(&at("file")).expect_err("there is a file");
        assert!(matches!(error, PlaceError::Exists { .. }), "{error}");
        let listening = Listener::open(&at("socket")).expect("free");
        let error = Listener::open(&at("socket")).expect_err("someone listens there");
        assert!(error.to_string().contains("name another place"), "{error}");
        let Socket::Unix(socket, ..) = &listening.0 else { panic!("it is one of the file system") };
        let nobody = socket.accept().expect_err("nobody has connected");
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
        drop(listening);
        assert!(!folder.path().join("socket").exists());
        // What is left of a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("stale")).expect("bound"));
        Listener::open(&at("stale")).expect("nobody listens there any more");
        assert!(Listener::open(&at("no/such/folder")).is_err());
    }

    #[test]
    fn who_connects_and_says_nothing_is_not_the_client() {
        let listener = Listener::open(&Place::default()).expect("a port is free");
        let place = listener.name();
        drop(TcpStream::connect(&place).expect("it listens"));
        let mut second = TcpStream::connect(&place).expect("it listens");
        second.write_all(b"+").expect("sent");
        let until = Instant::now() + Duration::from_secs(20);
        let client = listener.accept(|| Instant::now() > until).expect("one connects");
        let (client, mut bytes) = (client.expect("in time"), [0; 8]);
        let read = client.read(&mut bytes, Duration::from_secs(20)).expect("it is connected");
        assert_eq!((read, bytes[0]), (Some(1), b'+'));
    }
    #[test]
    fn who_says_nothing_and_stays_is_in_nobodys_way() {
        let listener = Listener::open(&Place::default()).expect("a port is free");
        let place = listener.name();
        let connect = || TcpStream::connect(&place).expect("it listens");
        let silent: Vec<_> = (0..3 * MOST_SILENT).map(|_| connect()).collect();
        let mut speaks = connect();
        speaks.write_all(b"$").expect("sent");
        let until = Instant::now() + Duration::from_secs(20);
        let client = listener.accept(|| Instant::now() > until).expect("one connects");
        let (client, mut bytes) = (client.expect("in time"), [0; 8]);
        let read = client.read(&mut bytes, Duration::from_secs(20)).expect("it is connected");
        assert_eq!((read, bytes[0]), (Some(1), b'$'));
        drop(silent);
    }
}
