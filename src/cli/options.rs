//! Which of the shared options a subcommand uses. Each is accepted before every subcommand; help and completion offer
//! it only where it means something, and there alone it may follow the subcommand.

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

/// A shared option, with the subcommands that use it.
struct SharedOption {
    id: &'static str,
    long: &'static str,
    /// The subcommands, with all of their own unless one of these is named too: `runs resume`.
    used_by: &'static [&'static str],
}

const SHARED_OPTIONS: [SharedOption; 5] = [
    SharedOption {
        id: "state_dir",
        long: "state-dir",
        used_by: &["run", "serve", "runs", "simulate"],
    },
    SharedOption { id: "store", long: "store", used_by: &["run", "serve", "runs"] },
    SharedOption {
        id: "store_namespace",
        long: "store-namespace",
        used_by: &["run", "serve", "runs", "permissions"],
    },
    SharedOption {
        id: "runbooks",
        long: "runbooks",
        used_by: &[
            "validate",
            "lsp",
            "plan",
            "run",
            "serve",
            "runs resume",
            "permissions",
            "snapshot",
            "actions",
            "schema",
        ],
    },
    SharedOption {
        id: "output",
        long: "output",
        used_by: &["validate", "plan", "run", "actions", "explain", "runs", "permissions"],
    },
];

/// Returns the command line, in which each subcommand has the shared options that it uses.
pub(super) fn command() -> Command {
    let mut command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        for option in
            SHARED_OPTIONS.iter().filter(|option| !option.used_by.contains(&name.as_str()))
        {
            command = command.mut_subcommand(&name, |subcommand| refuse(option, subcommand, &name));
        }
    }
    command
}

/// Lets a subcommand refuse an option, except in those of its own subcommands that use the option.
fn refuse(option: &SharedOption, mut subcommand: Command, name: &str) -> Command {
    let own: Vec<String> = subcommand.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let is_user = |own: &String| option.used_by.contains(&format!("{name} {own}").as_str());
    if !own.iter().any(is_user) {
        return subcommand.arg(refused_option(option, name));
    }
    for own in own.iter().filter(|own| !is_user(own)) {
        let refused = refused_option(option, &format!("{name} {own}"));
        subcommand = subcommand.mut_subcommand(own, |command| command.arg(refused));
    }
    subcommand
}

/// Returns a hidden option that takes the place of a shared one and refuses every value. Subcommands of the subcommand
/// have it, too.
fn refused_option(option: &SharedOption, subcommand: &str) -> Arg {
    let message = format!("`{subcommand}` does not use this option");
    let refuse = move |_: &str| Err::<String, String>(message.clone());
    Arg::new(option.id)
        .long(option.long)
        .value_name("VALUE")
        .global(true)
        .hide(true)
        .value_parser(refuse)
}

#[cfg(test)]
mod tests {
    use super::{SHARED_OPTIONS, command};

    #[test]
    fn every_shared_option_and_its_subcommands_exist() {
        let command = command();
        for option in SHARED_OPTIONS {
            assert!(command.get_arguments().any(|arg| arg.get_id() == option.id), "{}", option.id);
            for name in option.used_by {
                let found = name
                    .split(' ')
                    .try_fold(&command, |command, name| command.find_subcommand(name));
                assert!(found.is_some(), "{name}");
            }
        }
        let shared = command.get_arguments().filter(|arg| arg.is_global_set()).count();
        assert_eq!(shared, SHARED_OPTIONS.len(), "every shared option is listed");
        command.debug_assert();
    }
}
