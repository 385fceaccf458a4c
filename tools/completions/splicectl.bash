#!/bin/bash
# Completion of splicectl for bash: sourced, or found by its name in share/bash-completion/completions.
# Names of services and bridges come from the balancer, if it answers within a second. They are strangers' words, so the
# shell must not expand them, as `compgen -W` would.

# _splicectl_offer WORD...: those that begin with what is being typed.
_splicectl_offer() {
    local word
    for word in "$@"; do
        [[ $word != "$cur"* ]] || COMPREPLY+=("$(printf '%q' "$word")")
    done
}

# _splicectl_names services|bridges ...: what is in the first column of the balancer's answer; of bridges, both
# SERVICE/BRIDGE and BRIDGE.
_splicectl_names() {
    local names=() first second rest
    while read -r first second rest; do
        names+=("$first")
        [[ $1 != bridges ]] || names[-1]+="/$second"
        [[ $1 != bridges ]] || names+=("$second")
    done < <(timeout 1 "$program" "${balancer[@]}" "$1" 2>/dev/null | tail -n +2)
    [[ ${#names[@]} -gt 0 ]] || return 0
    mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -u)
    _splicectl_offer "${names[@]}"
}

_splicectl() {
    # The line's own words: in COMP_WORDS an address falls to pieces at its colons.
    local line=${COMP_LINE:0:COMP_POINT} words=() cur='' before='' program balancer=() command='' i
    read -r -a words <<<"$line"
    program=${words[0]}
    [[ $line == *[[:space:]] ]] || cur=${words[-1]} # a name that is typed in quotes is not completed
    [[ -z $cur ]] || unset 'words[-1]'
    before=${words[-1]}
    COMPREPLY=()
    for ((i = 1; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        --api | --token-file) balancer+=("${words[i]}" "${words[++i]-}") ;;
        --service | --format | --source | --header | --bridge | --client | --limit | --interval | --count) i=$((i + 1)) ;;
        -*) ;;
        *) [[ -n $command ]] || command=${words[i]} ;;
        esac
    done
    case $before in
    --token-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    --format) _splicectl_offer table json ;;
    --service) _splicectl_names services ;;
    --api) _splicectl_offer unix: 127.0.0.1:10001 ;;
    --source | --header | --bridge | --client | --limit | --interval | --count) ;;
    *)
        if [[ $cur == -* ]]; then
            local flags=(--api --token-file --format --help --version)
            case $command in
            bridges | check) flags+=(--service) ;;
            explain) flags+=(--service --source --header) ;;
            drain | down | ready | weight | reset) flags+=(--service --all-services) ;;
            flows) flags+=(--service --bridge --client --limit) ;;
            watch) flags+=(--service --interval --count) ;;
            esac
            _splicectl_offer "${flags[@]}"
        elif [[ -z $command ]]; then
            _splicectl_offer status check services bridges explain drain down ready weight reset flows watch
        elif [[ $before == "$command" ]]; then
            case $command in
            bridges | check) _splicectl_names services ;;
            drain | down | ready | weight | reset) _splicectl_names bridges ;;
            esac
        fi
        ;;
    esac
    # Of a word with colons readline replaces what comes after the last.
    local colons=${cur%"${cur##*:}"}
    [[ -z $colons || $COMP_WORDBREAKS != *:* ]] || COMPREPLY=("${COMPREPLY[@]#"$colons"}")
}
complete -F _splicectl splicectl
