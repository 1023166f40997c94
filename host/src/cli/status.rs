//! `picket status`: what the running Picket says about itself.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::control::{self, Request};
use crate::forecast::Cost;

use super::args::{ExitCode, Format, Global, StatusArgs};
use super::cost;
use super::print;
use super::terminal::escape_str;

pub fn run(args: &StatusArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&[], Vec::new())?.config;
    let socket = config.control_socket();
    if args.cost {
        return cost::run(&socket, args.duration, args.format.format);
    }
    let status = control::ask(&socket, &Request::Status)?;
    if args.probes {
        return match args.format.format {
            Format::Json => print(format!("{}\n", status["sensor"]["probes"]).as_bytes()),
            Format::Human => print(probes(&status).as_bytes()),
        };
    }
    match args.format.format {
        Format::Json => print(format!("{status}\n").as_bytes()),
        Format::Human => print(human(&status).as_bytes()),
    }
}

fn human(s: &Json) -> String {
    let mut out = String::new();
    let text = |v: &Json| escape_str(v.as_str().unwrap_or("-"));
    let g = &s["generation"];
    // Writing to a String cannot fail.
    let _ = writeln!(out, "picket {} {}, up {} s", text(&s["version"]), text(&s["state"]), s["uptime_s"]);
    let _ = writeln!(
        out,
        "generation {}: {} rules, digest {}, {} reloads, {} refusals, {} rollbacks",
        g["number"],
        g["rules"],
        text(&g["digest"]).get(..12).unwrap_or("-"),
        g["reloads"],
        g["refusals"],
        g["rollbacks"]
    );
    for (key, label) in [("settling", "settling"), ("refused", "last set refused")] {
        if let Some(why) = g[key].as_str() {
            let _ = writeln!(out, "  {label}: {}", escape_str(why));
        }
    }
    for stale in g["stale"].as_array().into_iter().flatten() {
        let live = if stale["live"].is_null() { "nothing of it is live" } else { "its last good version is live" };
        let _ = writeln!(out, "  stale {}: {} ({live})", text(&stale["file"]), text(&stale["why"]));
    }
    let _ = writeln!(out, "kinds");
    for kind in s["sensor"]["kinds"].as_array().into_iter().flatten() {
        let name = text(&kind["kind"]);
        let dropped: u64 = kind["dropped"].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_u64()).sum();
        let limits = kind["limits"].as_str().map(|d| format!("; {}", escape_str(d))).unwrap_or_default();
        let _ = writeln!(
            out,
            "  {name:<24} {:<32} run {} submitted {} dropped {dropped}{limits}",
            text(&kind["hook"]),
            kind["run"],
            kind["submitted"]
        );
        let left_out = |(reason, count): (&String, &Json)| {
            let knob = crate::collect::knob(reason).filter(|_| count.as_u64() > Some(0))?;
            Some(format!("{count} {reason} ({knob})"))
        };
        let left_out: Vec<String> = kind["filtered"].as_object().into_iter().flatten().filter_map(left_out).collect();
        if !left_out.is_empty() {
            let _ = writeln!(out, "  {:<24} left out: {}", "", left_out.join(", "));
        }
    }
    for noisy in s["sensor"]["throttled"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "  throttled {} {}: {} records of {} left out (collect.max_per_process)",
            text(&noisy["name"]),
            noisy["pid"],
            noisy["left_out"],
            text(&noisy["kind"])
        );
    }
    if s["sensor"]["too_many_paths"] == true {
        let _ = writeln!(out, "  every path is collected: rules are about too many for the kernel side");
    }
    if let Ok(cost) = Cost::deserialize(&s["sensor"]["reload_cost"]) {
        let _ = writeln!(out, "  the last reload {}", cost.sum());
    }
    let privileges = &s["privileges"];
    let confined = if privileges["no_new_privs"] == true { "no_new_privs" } else { "new privileges are possible" };
    let _ = writeln!(out, "privileges of uid {}, {confined}", privileges["uid"]);
    for kept in privileges["kept"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  {:<24} {}", text(&kept["capability"]), text(&kept["why"]));
    }
    let processes = &s["sensor"]["processes"];
    let _ = writeln!(
        out,
        "processes {} live, {} unknown, {} evicted",
        processes["live"], processes["unknown"], processes["evicted"]
    );
    let names = &s["sensor"]["names"];
    let _ = writeln!(
        out,
        "names of {} addresses, {} responses learned, {} connections named, {} evicted",
        names["addresses"], names["learned"], names["named"], names["evicted"]
    );
    let _ = writeln!(out, "  exited {}, forgotten early {}", processes["lingering"], processes["forgotten"]);
    let lookups = &processes["lookups"];
    let _ = writeln!(
        out,
        "lookups {}: containers described {}, undescribed {}; put off {}",
        lookups["asked"], lookups["described"], lookups["undescribed"], lookups["put_off"]
    );
    let hashes = &s["sensor"]["hashes"];
    let _ = writeln!(
        out,
        "hashes {}, cached {}, gone {}, too large {}, remote {}, failed {}, late {}",
        hashes["hashed"],
        hashes["cached"],
        hashes["gone"],
        hashes["too_large"],
        hashes["remote"],
        hashes["failed"],
        hashes["late"]
    );
    let events = &s["ledger"]["events"];
    let _ = writeln!(
        out,
        "events read {} = slabbed {} + unwanted {} + undecodable {}; {} slabs in flight",
        events["read"], events["slabbed"], events["unwanted"], events["undecodable"], s["slabs_in_flight"]
    );
    for (name, a) in s["ledger"]["guests"].as_object().into_iter().flatten() {
        let _ = writeln!(
            out,
            "  guest {}: offered {} = handled {} + set aside {} + shed {} + in flight {}; traps {}",
            escape_str(name),
            a["offered"],
            a["handled"],
            a["set_aside"],
            a["shed"],
            a["in_flight"],
            a["traps"]
        );
    }
    let d = &s["ledger"]["detections"];
    let _ = writeln!(
        out,
        "detections {} = alerts {} + shadow {} + context {} + off {} + internal {} + duplicates {}",
        d["reported"], d["alerts"], d["shadowed"], d["context"], d["off"], d["internal"], d["duplicates"]
    );
    let v = &s["viewers"];
    let _ = writeln!(
        out,
        "viewers {} of {}: lines {}, lost {}; refused viewers {}",
        v["now"], v["most"], v["lines"], v["lost"], v["refused"]
    );
    for ep in s["endpoints"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "  endpoint {}: accepted {} = delivered {} + pending {} + dead {} + evicted {}{}",
            text(&ep["name"]),
            ep["accepted"],
            ep["delivered"],
            ep["pending"],
            ep["dead"],
            ep["evicted"],
            ep["last_error"].as_str().map(|e| format!("; last error: {}", escape_str(e))).unwrap_or_default()
        );
    }
    out
}

/// A table of the kernel side's programs.
fn probes(s: &Json) -> String {
    let mut out = String::new();
    let head = ["program", "at", "verified", "code", "calls", "missed"];
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:<52} {:<9} {:>9} {:>8} {:>6} {:>8}", head[0], head[1], head[2], head[3], head[4], head[5]);
    for probe in s["sensor"]["probes"].as_array().into_iter().flatten() {
        let state = match (probe["refused"].is_string(), probe["attached"] == true) {
            (true, _) => "refused",
            (_, true) => "attached",
            _ => "-",
        };
        let number = |key: &str| probe[key].as_u64().unwrap_or_default();
        let _ = writeln!(
            out,
            "{:<52} {state:<9} {:>9} {:>8} {:>6} {:>8}",
            escape_str(probe["program"].as_str().unwrap_or("-")),
            number("verified_instructions"),
            number("code_bytes"),
            number("helper_calls"),
            number("missed"),
        );
    }
    out.push_str("verified: instructions over all paths; code: bytes; calls: of kernel helpers; missed: hits that did not run it\n");
    out
}
