//! The page of figures and the test that it is current.

use std::path::Path;

use super::{bias, coverage, timing, together};

/// One line of a table: study, what is shown, truth, figure.
pub struct Line(pub &'static str, pub String, pub String, pub String);

const HEAD: &str = "# What the numbers cover\n\n\
Written by `DWELL_BLESS=1 cargo test --test studies`; a test says whether it is current.\n\
Seeded campaigns in virtual time go through the program's own schedule, fold and report, so that the\n\
truth is known.\n";

const INTERVALS: &str = "\n## Intervals of quantiles\n\n\
Share of 2,000 samples of 100 exponential times, censored uniformly, whose 95 % interval holds\n\
the true quantile. A limit that is not reached counts as beyond. By chance alone such a share lies up to\n\
1.0 point beside 95 % (19 of 20 times).\n\n\
| censored | quantile | log-log (default) | log | plain |\n|---|---|---|---|---|\n";

const CAMPAIGNS: &str = "\n## Campaigns\n\n\
Found is the median of 200 campaigns with seeds of their own, then what nine of ten of them gave (the\n\
5th to the 95th percentile); a typical error is the median distance from the truth, without its sign.\n\n\
| study | figure | truth | found |\n|---|---|---|---|\n";

fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(INTERVALS);
    for cell in coverage::cells() {
        out.push_str(&cell.row());
    }
    out.push_str(CAMPAIGNS);
    for study in [
        timing::aliasing(),
        timing::stall(),
        bias::never(),
        bias::unproven(),
        bias::midway(),
        together::together(),
    ] {
        for Line(study, figure, truth, found) in study {
            out.push_str(&format!("| {study} | {figure} | {truth} | {found} |\n"));
        }
    }
    out
}

#[test]
fn the_page_of_figures_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coverage.md");
    let page = page();
    println!("{page}");
    if std::env::var_os("DWELL_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "write it anew with DWELL_BLESS=1");
}
