//! docs/verdicts.md is what `cowtrace explain` says: `UPDATE_EXPECT=1 cargo test --test verdicts_page`.

use cowtrace::explain;
use expect_test::expect_file;

#[test]
fn the_page_about_verdicts_is_what_explain_says() {
    let page = format!(
        "# Verdicts\n\n\
         Made from cowtrace/src/explain.rs by cowtrace/tests/verdicts_page.rs; `cowtrace explain VERDICT`\n\
         prints one of these. The worst first. Examples are workloads of `cowtrace provoke`;\n\
         [cases](cases/README.md) are scenes from the field.\n\n{}",
        explain::all()
    );
    expect_file!["../../docs/verdicts.md"].assert_eq(&page);
}
