#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agentguard_fuzz::mcp(bytes));
