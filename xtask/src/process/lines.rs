//! What a child says, line by line, for those who will not wait for ever.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::sync::mpsc::{Receiver, channel};

/// Passes on what a child says; the end of that is the end of the lines.
pub fn lines(answers: BufReader<PipeReader>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in answers.lines().map_while(std::io::Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
