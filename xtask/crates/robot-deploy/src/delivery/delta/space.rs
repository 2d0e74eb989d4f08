//! Space that new layers need on a robot's disks.

use super::agent::Inventory;
use crate::ui;

/// Describes why new layers do not fit on a robot's disks, if they do not. `layers` are the bytes of all
/// layers, `delta` those of the largest delta, and `spools` those of spools that count as free, as unfinished
/// layers do.
///
/// The registry keeps each layer once, uncompressed, and the spool of the delta that is being applied. After
/// that the engine keeps the unpacked files, and in a containerd store the layer as well.
pub(super) fn shortage(inventory: &Inventory, layers: u64, delta: u64, spools: u64) -> Option<String> {
    let disk = inventory.disk.saturating_add(inventory.parts).saturating_add(spools);
    let engine = layers.saturating_mul(inventory.copies);
    let shared = layers.saturating_add(engine.max(delta));
    if inventory.shared {
        return (disk < shared).then(|| needs_more("its disk", disk, shared));
    }
    if disk < layers + delta {
        return Some(needs_more("its registry's disk", disk, layers + delta));
    }
    (inventory.engine < engine).then(|| needs_more("its engine's disk", inventory.engine, engine))
}

fn needs_more(disk: &str, free: u64, needed: u64) -> String {
    let (free, needed) = (ui::bytes(free), ui::bytes(needed));
    format!("{disk} has {free} free, the new layers need {needed} there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spools_of_other_deltas_count_as_free_space() {
        let inventory = Inventory { disk: 250, shared: true, copies: 1, ..Inventory::default() };
        assert_eq!(shortage(&inventory, 100, 150, 0), None);
        assert!(shortage(&inventory, 200, 0, 149).unwrap().contains("its disk has"));
        assert_eq!(shortage(&inventory, 200, 0, 150), None);
        assert_eq!(shortage(&Inventory { parts: 100, ..inventory.clone() }, 200, 0, 50), None);
        let twice = Inventory { copies: 2, ..inventory };
        assert!(shortage(&twice, 100, 0, 49).is_some() && shortage(&twice, 100, 0, 50).is_none());
    }

    #[test]
    fn extreme_numbers_of_a_robot_do_not_overflow() {
        let most = u64::MAX;
        let inventory =
            Inventory { disk: most, parts: most, copies: most, shared: true, ..Inventory::default() };
        assert_eq!(shortage(&inventory, 100, most, most), None);
        let inventory = Inventory { disk: most, parts: most, copies: most, ..Inventory::default() };
        assert!(shortage(&inventory, 100, 1, most).unwrap().contains("its engine's disk"));
    }

    #[test]
    fn spools_are_not_free_space_on_an_engine_disk_of_its_own() {
        let inventory = Inventory { disk: 100, engine: 300, copies: 2, ..Inventory::default() };
        assert!(shortage(&inventory, 100, 50, 49).unwrap().contains("its registry's disk"));
        assert_eq!(shortage(&inventory, 100, 50, 50), None);
        assert!(shortage(&inventory, 151, 0, 1_000).unwrap().contains("its engine's disk"));
        // The inventory of a plan without a registry has unlimited space.
        assert_eq!(
            shortage(&Inventory { disk: u64::MAX, parts: 1, copies: 0, ..Inventory::default() }, 9, 9, 9),
            None
        );
    }
}
