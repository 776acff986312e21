//! `floodmark run --otlp`: what a collector receives, and what a run does without one.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod traces;

#[cfg(not(feature = "otlp"))]
#[test]
fn a_build_without_traces_says_how_to_get_one_with_them() {
    let arguments = ["run", "some.toml", "--otlp", "http://127.0.0.1:4318"];
    insta::assert_snapshot!(super::floodmark(&arguments, &[]));
}
