//! Telling systemd how the daemon is: readiness, a line for `systemctl status`, and signs of life for its watchdog.
//!
//! The protocol is a datagram of lines to a socket that the environment names; without that variable nobody listens, and
//! nothing is done.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};

/// What systemd put into the environment of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// NOTIFY_SOCKET.
    pub(crate) socket: Option<OsString>,
    /// WATCHDOG_USEC.
    pub(crate) watchdog_us: Option<String>,
    /// WATCHDOG_PID.
    pub(crate) watchdog_pid: Option<String>,
}

impl Environment {
    pub(crate) fn of_this_process() -> Self {
        let text = |name| std::env::var(name).ok();
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog_us: text("WATCHDOG_USEC"),
            watchdog_pid: text("WATCHDOG_PID"),
        }
    }
}

/// The way to systemd; leads nowhere where the daemon was started by something else.
#[derive(Debug)]
pub(crate) struct Systemd {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// # Errors
    /// `Invalid` where the environment names a socket that cannot be used.
    pub(crate) fn new(environment: &Environment) -> Result<Self> {
        let socket = environment.socket.as_ref().map(connect).transpose()?;
        let watchdog = socket.as_ref().and_then(|_| watchdog(environment, std::process::id()));
        Ok(Self { socket, watchdog })
    }

    /// How often systemd wants a sign of life; twice as often as it must be.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The daemon serves.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// What `systemctl status` shows.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// The daemon lives.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The daemon ends in good order.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping: requests that are under way are finished");
    }

    /// The daemon reads its settings anew, since `now` on the monotonic clock; [`ready`](Self::ready) ends that.
    pub(crate) fn reloading(&self, now: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    fn send(&self, text: &str) {
        // A datagram to a socket of this machine: it is taken at once or not at all, and systemd finds out what it misses.
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::debug!(%error, "systemd could not be told");
        }
    }
}

fn connect(name: &OsString) -> Result<UnixDatagram> {
    let connected = || {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(socket)
    };
    connected().map_err(|error: std::io::Error| {
        Error::new(ErrorKind::Invalid, "tell systemd at", name.display())
            .detail("NOTIFY_SOCKET names a socket that cannot be used; unset it where systemd did not start this daemon")
            .source(error)
    })
}

/// Half of the time after which systemd gives this process up; `None` where it does not, or watches another one.
fn watchdog(environment: &Environment, own: u32) -> Option<Duration> {
    let meant = environment.watchdog_pid.as_ref().is_none_or(|pid| *pid == own.to_string());
    let limit: u64 = environment.watchdog_us.as_ref().filter(|_| meant)?.parse().ok()?;
    (limit > 0).then(|| Duration::from_micros(limit) / 2)
}

/// A status is one line.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(us: &str, pid: Option<&str>) -> Environment {
        Environment {
            watchdog_us: Some(us.to_owned()),
            watchdog_pid: pid.map(str::to_owned),
            ..Environment::default()
        }
    }

    #[test]
    fn signs_of_life_come_twice_as_often_as_they_must_and_only_for_the_process_that_is_watched() {
        assert_eq!(watchdog(&environment("30000000", Some("7")), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog(&environment("30000000", None), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog(&environment("30000000", Some("8")), 7), None);
        assert_eq!(watchdog(&environment("0", None), 7), None);
        assert_eq!(watchdog(&environment("soon", None), 7), None);
    }

    #[test]
    fn systemd_hears_each_word_as_a_datagram_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let systemd =
            Systemd::new(&Environment { socket: Some(path.into_os_string()), ..Environment::default() })
                .unwrap();
        let mut buffer = [0; 256];
        let mut heard = || {
            let length = listener.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        systemd.ready("3 pods\n2 free");
        assert_eq!(heard(), "READY=1\nSTATUS=3 pods 2 free");
        systemd.alive();
        assert_eq!(heard(), "WATCHDOG=1");
        systemd.reloading(Duration::from_micros(12));
        assert_eq!(heard(), "RELOADING=1\nMONOTONIC_USEC=12");
        systemd.stopping();
        assert!(heard().starts_with("STOPPING=1\n"));
    }

    #[test]
    fn without_systemd_nothing_is_done_and_a_wrong_socket_is_told() {
        let systemd = Systemd::new(&environment("30000000", None)).unwrap();
        systemd.ready("");
        assert_eq!(systemd.watchdog(), None);
        let wrong = Environment { socket: Some("/none/notify".into()), ..Environment::default() };
        assert!(Systemd::new(&wrong).unwrap_err().to_string().contains("/none/notify"));
    }
}
