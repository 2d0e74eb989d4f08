//! Free space of disks, as df(1) reports it.

use camino::Utf8Path;

use crate::number;
use crate::process::Cmd;

/// Free bytes on the disk of a directory according to df(1), if known.
pub(crate) fn free(dir: &Utf8Path) -> Option<u64> {
    free_in(&Cmd::new("df").args(["-Pk", dir.as_str()]).read().ok()?)
}

/// Free bytes in the output of `df -Pk`.
pub(crate) fn free_in(df: &str) -> Option<u64> {
    let line = df.lines().nth(1)?;
    // A device name may contain spaces: count columns from the percentage.
    let words: Vec<&str> = line.split_whitespace().collect();
    let percentage = words.iter().rposition(|word| word.ends_with('%'))?;
    number::kibibytes(words.get(percentage.checked_sub(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_read_from_df() {
        let df = |line: &str| {
            free_in(&format!("Filesystem 1024-blocks Used Available Capacity Mounted on\n{line}\n"))
        };
        assert_eq!(df("/dev/vda 263174212 18874368 77594624 20% /"), Some(77_594_624 * 1024));
        assert_eq!(df("map auto home 0 0 0 100% /System/Volumes/Data/home"), Some(0));
        assert_eq!(df("no such thing"), None);
    }
}
