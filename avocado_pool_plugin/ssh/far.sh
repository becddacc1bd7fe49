# The far side of shell.py: what is done to the files of a pool by a POSIX shell with the GNU tools.
#
# An answer is lines of "+key text" between "+begin TOKEN" and "+end TOKEN STATUS". Lines that begin
# otherwise are what tools complain about; a dot says that something long goes on. Names that tools
# do not quote never hold control characters: who asks makes sure of that, here [:cntrl:] does.
#
# A list of files is a text of references to variables ("$pool_v1" "$pool_v2"...) for eval, so that
# no name is ever parsed. Starting programs is what costs: none in loops over files.

exec 2>&1
set -f
LC_ALL=C
export LC_ALL
unset QUOTING_STYLE CDPATH

pool_nl='
'
pool_blank=' 	'$pool_nl
pool_16='????????????????'
pool_status='+s %i %s %.9Y %.9Z %f %b %B %d %h %n\n'

# TOKEN FUNCTION ARGUMENT...
pool_call() {
    pool_token=$1
    pool_n=0
    shift
    printf '\n+begin %s\n' "$pool_token"
    "$@"
    printf '\n+end %s %s\n' "$pool_token" "$?"
}

# Append a reference to a value: LIST VALUE
pool_ref() {
    pool_n=$((pool_n + 1))
    eval "pool_v$pool_n=\$2; $1=\"\$$1 \\\"\\\$pool_v$pool_n\\\"\""
}

# Tell who this is and what is missing: EVERY PATIENCE KEEP
# EVERY: seconds between two beats; PATIENCE: how many of them are enough for a disk; KEEP: seconds
# that what was thrown away is kept
pool_start() {
    pool_every=$1
    pool_patience=$2
    pool_kept_for=$3
    pool_session "$$"
    pool_host=
    read -r pool_host 2>/dev/null </proc/sys/kernel/hostname || pool_host=$(uname -n)
    printf '+pid %s\n+session %s\n+host %s\n' "$$" "$pool_s" "$pool_host"
    for pool_x in base64 cat chgrp chmod cp head ln ls mkdir mv od realpath rm sleep stat \
        sync; do
        command -v "$pool_x" >/dev/null || printf '+lacks %s\n' "$pool_x"
    done
    # those of others know less
    case $(stat -L --printf '%i %.9Y,' -- / 2>/dev/null) in
    *.?????????,) ;;
    *) printf '+lacks stat of GNU\n' ;;
    esac
    case $(head -v -c 1 -- /dev/null /dev/null 2>/dev/null | base64 -w0) in
    PT0+IC9kZXYvbnVsbCA8PT0KCj09PiAvZGV2L251bGwgPD09Cg==) ;;
    *) printf '+lacks head and base64 of GNU\n' ;;
    esac
    pool_flock=$(command -v flock)
    [ -z "$pool_flock" ] || printf '+flock %s\n' "$pool_flock"
}

# Tell what there is to work with, besides what has to be.
pool_programs() {
    pool_x=$(command -v rsync) && printf '+rsync %s\n' "$pool_x"
    pool_x=$(command -v python3) || return 0
    pool_o=$(python3 -c 'import sys; print("%d %d" % sys.version_info[:2])' </dev/null) || return 0
    printf '+python %s %s\n' "${pool_o##*"$pool_nl"}" "$pool_x"
}

# Tell a process from all others there ever were: PID
pool_session() {
    pool_s=
    read -r pool_x 2>/dev/null </proc/sys/kernel/random/boot_id || return 1
    { read -r pool_o <"/proc/$1/stat"; } 2>/dev/null || return 1
    # the 22nd field is when it started; the second one, a name, may hold anything
    set -- ${pool_o##*) }
    pool_s=$pool_x-${20}
}

# End a shell of ours that lost its connection, with what it runs: PID SESSION
pool_end_of() {
    pool_session "$1" && [ "$pool_s" = "$2" ] || return 0
    kill -9 "-$1" 2>/dev/null || kill -9 "$1"
}

# Say now and then that something goes on, until pool_still: MOST
# MOST: how often at most
pool_beats() {
    pool_beating "$1" &
    pool_beater=$!
}

pool_still() {
    kill "$pool_beater" 2>/dev/null
    wait "$pool_beater" 2>/dev/null
    return 0
}

pool_beating() {
    # for good: what is closed for a function only is kept elsewhere meanwhile
    exec 9>&-
    pool_left=$1
    while [ "$pool_left" -gt 0 ]; do
        pool_left=$((pool_left - 1))
        # may outlive all this for a moment, so it holds nothing open
        sleep "$pool_every" </dev/null >/dev/null 2>&1 || exit
        # an orphan says nothing: the 4th field is the parent
        read -r pool_x 2>/dev/null </proc/self/stat || exit
        case ${pool_x##*) } in
        ?" $$ "*) ;;
        *) exit ;;
        esac
        printf '.\n'
    done
}

# Lock a file: LOCK SECONDS HOLDER
pool_lock() {
    [ -n "$pool_flock" ] || return 0
    pool_like_parent "${1%/*}" no || return
    [ -e "$1" ]
    pool_x=$?
    command exec 9>>"$1" || return
    [ "$pool_x" = 0 ] || chmod 666 -- "$1" 2>/dev/null
    flock -n 9
    pool_x=$?
    if [ "$pool_x" = 1 ] && [ "$2" != 0.000 ]; then
        pool_beats 1000000
        flock -w "$2" 9
        pool_x=$?
        pool_still
    fi
    if [ "$pool_x" = 0 ]; then
        { printf '%s\n' "$3" >"$1"; } 2>/dev/null
        return 0
    fi
    exec 9>&-
    [ "$pool_x" = 1 ] || return
    pool_o=
    read -r pool_o 2>/dev/null <"$1"
    printf '+holder %s\n' "$pool_o"
}

pool_unlock() {
    exec 9>&-
}
