//! Makes a layer of a container image from layers that the receiver has.
//!
//! ```text
//! layer, bases ─▶ index ─▶ plan ─▶ delta file ═══▶ apply ─▶ layer
//! ```
//!
//! - layer: an uncompressed tar archive, named by its digest;
//! - basis: a layer that the receiver has, from which a new layer is made;
//! - index: the entries of a layer's archive, with positions and checksums ([`index`]);
//! - plan: the operations, copies and frames, that make a layer from its bases ([`plan`]);
//! - delta file: an encoded plan, the bytes that are sent ([`file`]);
//! - agent: the program on the robot that applies delta files (`registry_agent.py` of robot-deploy); its index of a
//!   layer that only the robot has is read by [`agent_index`], and [`apply`] does the same as the agent.
//!
//! This crate knows nothing of SSH, Docker or robots.

pub mod agent_index;
pub mod apply;
pub mod file;
pub mod index;
pub mod plan;
#[cfg(test)]
mod tests;
