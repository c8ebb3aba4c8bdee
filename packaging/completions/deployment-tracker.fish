# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_deployment_tracker_global_optspecs
    string join \n config= check-config config-reference h/help V/version
end

function __fish_deployment_tracker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_deployment_tracker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_deployment_tracker_using_subcommand
    set -l cmd (__fish_deployment_tracker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -l config -d 'The configuration file, TOML if its name ends in .toml, otherwise JSON [default: config.json or config.toml in the working directory, if one exists]' -r -F
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -l check-config -d 'Check the configuration, print it with every default and without secrets, list the legacy options that are translated or ignored, and exit'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -l config-reference -d 'Print the reference page of every configuration key of this build, as Markdown, and exit'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -s V -l version -d 'Print version'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -f -a "token" -d 'Manage the tokens that authenticate clients'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -s h -l help -d 'Print help'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -f -a "new" -d 'Create a token: print its secret, which is not stored, and the entry for `auth.tokens`, which holds only its hash'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l scope -d 'A scope: read, write or admin; repeat the option for several' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l environment -d 'An environment whose deployments it may report; repeat the option for several [default: all]' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l expires-at -d 'The time at which it expires, such as 2027-01-31T00:00:00Z [default: never]' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "new" -d 'Create a token: print its secret, which is not stored, and the entry for `auth.tokens`, which holds only its hash'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and not __fish_seen_subcommand_from token help" -f -a "token" -d 'Manage the tokens that authenticate clients'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and not __fish_seen_subcommand_from token help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "new" -d 'Create a token: print its secret, which is not stored, and the entry for `auth.tokens`, which holds only its hash'
