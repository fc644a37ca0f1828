//! Panics without their message: it may quote the event that was in work.

use std::panic::PanicHookInfo;

/// From now on a panic tells its thread and place; with `RUST_BACKTRACE=1` also how it came there.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|info| eprintln!("{}", line(info))));
}

fn line(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
    let trace = std::backtrace::Backtrace::capture();
    let trace = if trace.status() == std::backtrace::BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    format!(
        "millrace: thread `{}` panicked{place}; its message is left out, it may quote an event{trace}",
        thread.name().unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    /// Would catch: a message that gets into the line, a line that does not say where.
    #[test]
    fn the_place_is_told_and_the_message_is_not() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let (into, before) = (told.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| into.lock().unwrap().push(super::line(info))));
        let thread = std::thread::Builder::new().name("model-0".into()).spawn(|| assert_eq!("hunter2", "other"));
        assert!(thread.unwrap().join().is_err());
        std::panic::set_hook(before);
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("thread `model-0` panicked at src/telemetry/panics.rs:"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
