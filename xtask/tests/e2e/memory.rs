//! Memory that a robot needs for a large layer.

use super::harness::{Finished, Lab, MAIN, Single, note};

/// Limit of the robot's memory in bytes for a layer of any size.
const LIMIT: f64 = 100e6;

/// Creates files of 600 MB: a twentieth is noise, the rest is text. The second version differs from the first
/// in single lines, and in some files completely.
const DOCKERFILE: &str = "\
FROM base AS made
RUN --network=none python3 <<'END'
import os, random
os.makedirs('/out/large')
def block(number, kind=''):
    text = b'%08d of a text without end ' % number
    noise = random.Random('noise ' + kind + str(number)).randbytes(50_000)
    return noise + text * (950_000 // len(text))
with open('/out/large/log', 'wb') as log:
    for number in range(450):
        part = block(number)
        log.write(part[:400_000] + b'a line\\n' + part[400_000:] if VERSION == 2 and number % 3 else part)
for number in range(150):
    with open(f'/out/large/{number}', 'wb') as file:
        file.write(block(number, 'other' if VERSION == 2 and number % 5 == 0 else 'file'))
END
FROM shell AS runtime
COPY --link --from=made /out/ /
";

/// Size of all files, plus a tenth: large files with moved parts are partly read twice.
const ONCE: f64 = 660e6;

/// Largest memory that the robot's agent reported for a layer, and the most bytes that it read of other
/// layers.
fn took(run: &Finished) -> (f64, f64) {
    let bytes = |text: &str| {
        let (number, unit) = text.split_once(' ')?;
        let unit = ["B", "kB", "MB", "GB"].iter().position(|known| *known == unit)?;
        Some(number.parse::<f64>().ok()? * 1000_f64.powi(unit.try_into().ok()?))
    };
    let amounts = run.stderr.lines().filter_map(|line| {
        let (_, amounts) = line.strip_suffix(" of others")?.split_once(" with ")?;
        let (memory, read) = amounts.split_once(" of memory, reading ")?;
        Some((bytes(memory)?, bytes(read)?))
    });
    let most = amounts.reduce(|one, two| (one.0.max(two.0), one.1.max(two.1)));
    most.unwrap_or_else(|| panic!("no layer was made:\n{}", run.stderr))
}

pub fn a_layer_of_600_mb_takes_little_memory_on_the_robot(lab: &Lab) {
    // The files are the same in each run, because BuildKit keeps what it builds; so the robot is a new one.
    lab.workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    for version in ["1", "2"] {
        let dockerfile = DOCKERFILE.replace("VERSION", version);
        lab.workspace.reset();
        let run = Single::new(&lab.workspace, &dockerfile).deploy("main").never_says("`docker push` sends");
        let (memory, read) = took(&run);
        note(format!("version {version}: {memory} bytes of memory, {read} bytes read"));
        assert!(memory < LIMIT, "{memory} bytes of memory");
        assert!(read < ONCE, "{read} bytes read");
        MAIN.assert_has_built("single");
    }
}
