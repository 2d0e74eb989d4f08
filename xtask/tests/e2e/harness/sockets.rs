//! Open sockets, as listed by the kernel, and the processes that hold them.

use std::collections::{BTreeMap, BTreeSet};

/// Prints the kernel's socket tables. Before and after, it lists the processes with their sockets and marks
/// ROS nodes, because processes come and go.
pub const LIST: &str = "processes() {
    grep -lz '^ROS_DOMAIN_ID=' /proc/[0-9]*/environ 2>/dev/null | sed 's/^/node /'
    find /proc/[0-9]*/fd -lname 'socket:*' -printf 'fd %h %l\\n' 2>/dev/null || true
}
processes
for kind in tcp udp; do
    cat /proc/net/$kind /proc/net/${kind}6 2>/dev/null | sed \"s/^/$kind /\"
done
processes";

/// States of TCP and UDP sockets without a peer: proc(5), tcp_states.h.
const WAITING: [(&str, &str); 2] = [("tcp", "0A"), ("udp", "07")];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// `tcp` or `udp`.
    pub kind: String,
    /// Address in the kernel's format: hexadecimal, IPv4 with the last part first.
    pub address: String,
    pub port: u16,
    /// A process that holds the socket, if one was found.
    pub pid: Option<u32>,
    /// True if the process is a ROS node, or belongs to one.
    pub is_of_node: bool,
}

impl Socket {
    /// Parses the output of [`LIST`].
    pub fn waiting(list: &str) -> Vec<Self> {
        let lines = || list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid_of = |path: &str| -> Option<u32> { path.split('/').nth(2)?.parse().ok() };
        let node = |words: Vec<&str>| match words[..] {
            ["node", path] => pid_of(path),
            _ => None,
        };
        let nodes: BTreeSet<u32> = lines().filter_map(node).collect();
        let owner = |words: Vec<&str>| match words[..] {
            ["fd", dir, link] => {
                let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
                Some((inode, pid_of(dir)?))
            }
            _ => None,
        };
        let owners: BTreeMap<String, u32> = lines().filter_map(owner).collect();
        let socket = |words: Vec<&str>| {
            let (kind, address, state) = (*words.first()?, words.get(2)?, *words.get(4)?);
            let (address, port) = address.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let pid = owners.get(*words.get(10)?).copied();
            let is_of_node = pid.is_some_and(|pid| nodes.contains(&pid));
            let socket = Self { kind: kind.to_owned(), address: address.to_owned(), port, pid, is_of_node };
            WAITING.contains(&(kind, state)).then_some(socket)
        };
        lines().filter_map(socket).collect()
    }

    /// Returns whether only this machine can reach the socket: 127.0.0.0/8, `::1`, or the first as
    /// IPv4-mapped IPv6.
    pub fn is_on_loopback(&self) -> bool {
        match self.address.len() {
            8 => self.address.ends_with("7F"),
            _ => {
                self.address == "00000000000000000000000001000000"
                    || self.address.starts_with("0000000000000000FFFF0000") && self.address.ends_with("7F")
            }
        }
    }
}
