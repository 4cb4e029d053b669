//! The page of figures and the test that it is current.

use std::path::Path;

use super::{bias, coverage, timing};

/// One line of a table: study, what is shown, truth, figure.
pub struct Line(pub &'static str, pub String, pub String, pub String);

const HEAD: &str = "# What the numbers cover\n\n\
Written by `DWELL_BLESS=1 cargo test --test studies`; a test says whether it is current.\n\
Seeded campaigns in virtual time go through the program's own schedule, fold and report, so that the\n\
truth is known. Each figure is the median over 200 campaigns unless the line says otherwise.\n";

fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Intervals of quantiles\n\nShare of 2,000 samples of 100 exponential times, censored uniformly, whose 95 % interval holds\nthe true quantile. A limit that is not reached counts as beyond.\n\n");
    out.push_str(
        "| censored | quantile | log-log (default) | log | plain |\n|---|---|---|---|---|\n",
    );
    for cell in coverage::cells() {
        out.push_str(&cell.row());
    }
    out.push_str("\n## Campaigns\n\n| study | figure | truth | found |\n|---|---|---|---|\n");
    for study in
        [timing::aliasing(), timing::stall(), bias::never(), bias::unproven(), bias::midway()]
    {
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
