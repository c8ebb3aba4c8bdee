# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_deployment_tracker_global_optspecs
    string join \n config= check-config h/help V/version
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

complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -l config -d 'The configuration, JSON or TOML by its ending [default: config.json or config.toml in this folder, if any]' -r -F
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -l check-config -d 'Print the configuration in force, with every default and without secrets, and what of an old one is understood and ignored, and exit'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -s V -l version -d 'Print version'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -f -a "token" -d 'Tokens, which say who may do what'
complete -c deployment-tracker -n "__fish_deployment_tracker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -s h -l help -d 'Print help'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -f -a "new" -d 'Make a token: print its secret, which is kept nowhere, and the entry for `auth.tokens`, which only tells it from others'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and not __fish_seen_subcommand_from new help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l scope -d 'What it may do: read, write, admin; give it once for each' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l environment -d 'An environment whose deployments it may report; give it once for each [default: all]' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -l expires-at -d 'When it ends, such as 2027-01-31T00:00:00Z [default: never]' -r
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "new" -d 'Make a token: print its secret, which is kept nowhere, and the entry for `auth.tokens`, which only tells it from others'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and not __fish_seen_subcommand_from token help" -f -a "token" -d 'Tokens, which say who may do what'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and not __fish_seen_subcommand_from token help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c deployment-tracker -n "__fish_deployment_tracker_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "new" -d 'Make a token: print its secret, which is kept nowhere, and the entry for `auth.tokens`, which only tells it from others'
