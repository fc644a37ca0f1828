//! A network namespace of a test's own, behind a link that loses real packets: `deploy/local/link.sh`.

use super::services::{folder, run, script};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// See the module. Taken down with the test; processes behind it must have ended by then.
pub struct Link {
    folder: TempDir,
}

/// What happened to the packets of the processes behind a link.
#[derive(Debug, Clone, Copy)]
pub struct Packets {
    /// Those that they had to send again.
    pub again: u64,
    /// Those that reached them before an earlier one.
    pub early: u64,
    /// Those that came to them by the slow way round.
    pub detoured: u64,
}

impl Link {
    pub fn up() -> Self {
        let link = Self { folder: folder("own.") };
        link.tell("up", &[]);
        link
    }

    /// Address of this end.
    pub fn here(&self) -> String {
        self.read("link.here")
    }

    /// Takes the link down at this end: nothing passes, and who is behind it has no carrier.
    pub fn cut(&self) {
        self.tell("cut", &[]);
    }

    pub fn mend(&self) {
        self.tell("mend", &[]);
    }

    /// From now on so many of 100 packets are lost in each direction, and so many of the others are overtaken.
    pub fn weather(&self, lost: u32, detoured: u32) {
        self.tell("weather", &[&lost.to_string(), &detoured.to_string()]);
    }

    /// A program behind the link. Its process is the one that is started.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.read("link"))).arg(program);
        command
    }

    /// Status and body of what a server on loopback behind the link answers.
    pub fn get(&self, address: &str, path: &str) -> (u16, String) {
        let (host, port) = address.rsplit_once(':').unwrap();
        let ask = format!(
            "exec 3<>/dev/tcp/{host}/{port}; printf 'GET {path} HTTP/1.1\\r\\nhost: {address}\\r\\nconnection: close\\r\\n\\r\\n' >&3; cat <&3"
        );
        let answer = self.output("bash", &["-c", &ask]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{address} gives no HTTP answer: {answer}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn packets(&self) -> Packets {
        let counts = counts(&self.output("cat", &["/proc/net/snmp", "/proc/net/netstat"]));
        let devices = self.output("cat", &["/proc/net/dev"]);
        let round = devices.lines().find_map(|line| line.trim().strip_prefix("round:")).unwrap();
        // Eight columns of what came in, then bytes and packets that went out.
        let detoured = round.split_whitespace().nth(9).unwrap().parse().unwrap();
        Packets { again: counts["Tcp: RetransSegs"], early: counts["TcpExt: TCPOFOQueue"], detoured }
    }

    fn output(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program);
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn read(&self, file: &str) -> String {
        let path: PathBuf = self.folder.path().join(file);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    fn tell(&self, action: &str, more: &[&str]) {
        run(Command::new(script("link.sh")).arg(action).arg(self.folder.path()).args(more));
    }
}

/// The kernel's counters, by protocol and name: a line of names, then a line of numbers.
fn counts(text: &str) -> HashMap<String, u64> {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let mut found = HashMap::new();
    for pair in lines.chunks_exact(2) {
        for (name, number) in pair[0].iter().zip(&pair[1]).skip(1) {
            // Some are negative, and mean none.
            if let Ok(number) = number.parse() {
                found.insert(format!("{} {name}", pair[0][0]), number);
            }
        }
    }
    found
}

impl Drop for Link {
    fn drop(&mut self) {
        Command::new(script("down.sh")).arg(self.folder.path()).stdin(Stdio::null()).status().ok();
    }
}
