//! Users of loopback connections.
//!
//! Linux lists the sockets of a network namespace with their users (proc_pid_net(5), `tcp`). Other systems do
//! not tell the user at the other end of a connection: there all users of this machine are accepted.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::MetadataExt as _;

/// Socket tables of the kernel: a client may use an IPv6 socket for an IPv4 address.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Number of reads: a table that changes during a read may lack a row.
const TRIES: u32 = 3;

/// Returns whether the client belongs to the user of this process, or to root like Docker's engine.
///
/// Users of other user namespaces have other IDs here and are refused.
pub(super) fn is_ours(connection: &TcpStream) -> bool {
    if cfg!(not(target_os = "linux")) {
        return true;
    }
    let ends = (connection.peer_addr(), connection.local_addr());
    let (Ok(SocketAddr::V4(client)), Ok(SocketAddr::V4(own))) = ends else { return false };
    let Ok(me) = std::fs::metadata("/proc/self").map(|process| process.uid()) else { return false };
    (0..TRIES).find_map(|_| user_of(client, own)).is_some_and(|user| user == me || user == 0)
}

fn user_of(client: SocketAddrV4, own: SocketAddrV4) -> Option<u32> {
    TABLES.iter().find_map(|table| owner(&std::fs::read_to_string(table).ok()?, client, own))
}

/// Returns the user ID in a table for the socket at `local` that is connected to `remote`. Closed sockets,
/// which have inode 0 and user 0, are ignored.
fn owner(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u32> {
    let is_at = |text: &str, address: SocketAddrV4| in_tables(address).iter().any(|form| form == text);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, from, to, _, _, _, _, user, _, inode, ..] = fields[..] else { return None };
        let is_open = is_at(from, local) && is_at(to, remote) && inode != "0";
        is_open.then(|| user.parse().ok()).flatten()
    })
}

/// Address and port in the notation of both tables: hexadecimal words in native byte order.
fn in_tables(address: SocketAddrV4) -> [String; 2] {
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let v4: Ipv4Addr = *address.ip();
    let (own, mapped) = (word(v4.octets()), word([0, 0, 0xff, 0xff]));
    let port = address.port();
    [format!("{own}:{port:04X}"), format!("{0:016X}{mapped}{own}:{port:04X}", 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener of user 1000 on port 5000, clients of users 1000, 65534 and root, and a closed socket.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 100 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1388 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 101 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C001 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 102 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:C002 0100007F:1388 01 00000000:00000000 00:00000000 00000000 65534        0 103 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:C003 0100007F:1388 08 00000000:00000000 00:00000000 00000000     0        0 104 1 0000000000000000 20 4 30 10 -1
   5: 0100007F:C004 0100007F:1388 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
";

    /// A client with an IPv6 socket.
    const TABLE6: &str = "\
   0: 0000000000000000FFFF00000100007F:C005 0000000000000000FFFF00000100007F:1388 01 00000000:00000000 00:00000000 00000000  1001        0 105 1 0000000000000000 20 4 30 10 -1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_user_of_a_client_is_found() {
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let user = |table, port| owner(table, at(port), at(5000));
        assert_eq!(user(TABLE, 0xC001), Some(1000));
        assert_eq!(user(TABLE, 0xC002), Some(65534));
        assert_eq!(user(TABLE, 0xC003), Some(0));
        assert_eq!(user(TABLE, 0xC004), None, "a closed socket is not root's");
        assert_eq!(user(TABLE6, 0xC005), Some(1001));
        assert_eq!(user(TABLE, 0xC006), None);
        assert_eq!(owner(TABLE, at(0xC001), at(5001)), None, "another connection of the same client");
    }

    #[test]
    fn our_own_connections_are_ours() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_ours(&listener.accept().unwrap().0));
        drop(client);
    }
}
