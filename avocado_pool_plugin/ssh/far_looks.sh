# --- looking at files

# the longest text that is read as a whole, and the start of an image, in bytes
pool_most=67108864
pool_top=2048

# List all names and at last an empty one: DIRECTORY
pool_names() {
    pool_o=$({ ls -U --quoting-style=c -- "$1/." && printf '""\n'; } | base64 -w0)
    printf '+names %s\n' "$pool_o"
}

# Tell whether there is a link, to whatever: FILE
pool_linked() {
    [ ! -L "$1" ] || printf '+linked\n'
}

# Tell what a file system stamps on changes now: DIRECTORY
pool_clock() {
    pool_x=$1/.pool/.clock-$pool_token.tmp
    if { printf x >"$pool_x"; } 2>/dev/null; then
        stat --printf "$pool_status" -- "$pool_x" && rm -f -- "$pool_x"
        return
    fi
    # the disk may be full, and this takes no room
    rm -f -- "$pool_x"
    touch -c -- "$1/.pool" && stat --printf "$pool_status" -- "$1/.pool"
}

# Print the starts of files: BYTES FILE...
pool_texts() {
    [ $# -gt 1 ] || return 0
    pool_x=$1
    shift
    printf '+f %s\n' "$@"
    pool_o=$(head -v -c "$pool_x" -- "$@" | base64 -w0)
    printf '+text %s\n' "$pool_o"
}

# Do something to files, 200 at a time; others than plain files are left out: COMMAND FILE...
pool_each() {
    pool_do=$1
    shift
    pool_n=0 pool_batch=''
    for pool_f in "$@"; do
        case $pool_f in
        *[[:cntrl:]]*) continue ;;
        esac
        [ -f "$pool_f" ] || continue
        pool_ref pool_batch "$pool_f"
        [ "$pool_n" -ge 200 ] || continue
        eval "$pool_do $pool_batch"
        pool_n=0 pool_batch=''
    done
    [ -z "$pool_batch" ] || eval "$pool_do $pool_batch"
}

# Look at files: WHAT FILE...
# WHAT: endings of what lies beside them, in the order to be read; "pending" for records of writers
# that did not commit, "start" for the starts of files, "header" for those of images
pool_files() {
    pool_what=$1
    shift
    pool_around='' pool_last=''
    for pool_p in "$@"; do
        pool_d=${pool_p%/*}/.pool
        # so that what is in there is not taken for absent if it can't be reached
        [ "$pool_d" = "$pool_last" ] || pool_ref pool_around "$pool_d/."
        pool_last=$pool_d
    done
    # records are read after the file was looked at, those of writers at work first
    pool_o=$(eval "stat -L --printf \"\$pool_status\" -- $pool_around \"\$@\"")
    printf '%s\n' "$pool_o"
    pool_small='' pool_starts='' pool_last=''
    for pool_p in "$@"; do
        pool_d=${pool_p%/*}/.pool
        for pool_x in $pool_what; do
            case $pool_x:$pool_p in
            pending:*) pool_pending "$pool_d" "$pool_d/${pool_p##*/}" ;;
            start:* | header:*.qcow2) [ ! -f "$pool_p" ] || pool_ref pool_starts "$pool_p" ;;
            header:*) ;;
            *) [ ! -f "$pool_d/${pool_p##*/}.$pool_x" ] ||
                pool_ref pool_small "$pool_d/${pool_p##*/}.$pool_x" ;;
            esac
        done
    done
    eval "pool_texts $pool_most $pool_small"
    eval "pool_texts $pool_top $pool_starts"
}

# Refer to the records of writers of a file: DIRECTORY PREFIX
pool_pending() {
    if [ "$1" != "$pool_last" ]; then
        pool_last=$1
        pool_find "$1"
    fi
    IFS=$pool_nl
    for pool_y in $pool_found; do
        case $pool_y in
        "$2".next-*) [ ! -f "$pool_y" ] || pool_ref pool_small "$pool_y" ;;
        esac
    done
    IFS=$pool_blank
}

# Find all records of writers, one a line: DIRECTORY
pool_find() {
    set +f
    set -- "$1"/*.next-$pool_16
    set -f
    IFS=$pool_nl
    pool_found=$*
    IFS=$pool_blank
}

# Look at files and, if CHAIN is yes, at the images that they stand on: CHAIN WHAT FILE...
pool_look() {
    pool_x=$1 pool_what=$2
    shift 2
    pool_all='' pool_known=$pool_nl
    for pool_p in "$@"; do
        pool_add "$pool_p"
    done
    [ "$pool_x" != yes ] || pool_follow $((pool_n + 200))
    eval "printf '+file %s\n' $pool_all"
    eval "pool_resolve $pool_all" || return
    eval "pool_files \"\$pool_what\" $pool_all"
}

pool_add() {
    case $pool_known in
    *"$pool_nl$1$pool_nl"*) return ;;
    esac
    pool_known=$pool_known$1$pool_nl
    pool_ref pool_all "$1"
}

# Add what images stand on: MOST files
pool_follow() {
    pool_i=0
    while [ "$pool_i" -lt "$pool_n" ] && [ "$pool_n" -lt "$1" ]; do
        pool_i=$((pool_i + 1))
        eval "pool_p=\$pool_v$pool_i"
        pool_b=
        case $pool_p in
        *.qcow2) pool_recorded "$pool_p" || pool_backing "$pool_p" ;;
        esac
        case $pool_b in
        '' | */* | *[[:cntrl:]]*) ;;
        *) pool_add "${pool_p%/*}/$pool_b" ;;
        esac
    done
}

# Guess what an image stands on by its record, which takes no program: FILE
pool_recorded() {
    pool_x=${1%/*}/.pool/${1##*/}.json
    [ -r "$pool_x" ] || return 1
    while read -r pool_y; do
        case $pool_y in
        '"parent": "",') return 0 ;;
        '"parent": "'*\\*) return 1 ;;
        '"parent": "'*'",')
            pool_b=${pool_y#'"parent": "'}
            pool_b=${pool_b%'",'}.qcow2
            return 0
            ;;
        esac
    done <"$pool_x"
    return 1
}

# Read what an image stands on: FILE
pool_backing() {
    set -- "$1" $(od -An -v -tu1 -N20 -- "$1" 2>/dev/null)
    [ "$#:${2-}:${3-}:${4-}:${5-}" = 21:81:70:73:251 ] || return 0
    # from the 8th byte on where the name is, from the 16th on how long; small in sound images
    pool_x=$((${14} << 24 | ${15} << 16 | ${16} << 8 | ${17}))
    pool_y=$((${18} << 24 | ${19} << 16 | ${20} << 8 | ${21}))
    [ "$pool_x" -gt 0 ] && [ "$pool_y" -gt 0 ] && [ "$pool_y" -le 1023 ] || return 0
    pool_o=
    for pool_x in $(od -An -v -to1 -j "$pool_x" -N "$pool_y" -- "$1" 2>/dev/null); do
        pool_o=$pool_o\\$pool_x
    done
    pool_b=$(printf "$pool_o.")
    pool_b=${pool_b%.}
}

# Put where links lead in their place: FILE..., the values of the first variables
pool_resolve() {
    pool_i=0 pool_links='' pool_numbers=''
    for pool_p in "$@"; do
        pool_i=$((pool_i + 1))
        [ -L "$pool_p" ] || continue
        pool_links="$pool_links \"\$pool_v$pool_i\""
        pool_numbers="$pool_numbers $pool_i"
    done
    [ -n "$pool_links" ] || return 0
    pool_o=$(eval "realpath -m -- $pool_links")
    IFS=$pool_nl
    set -- $pool_o
    IFS=$pool_blank
    for pool_i in $pool_numbers; do
        eval "pool_p=\$pool_v$pool_i"
        printf '+link %s\n+to %s\n' "$pool_p" "${1-}"
        eval "pool_v$pool_i=\${1-}"
        [ $# = 0 ] || shift
    done
}

# Look at all that may stand on states of a directory: DIRECTORY
pool_shelf() {
    ls -U -- "$1/." >/dev/null || return
    pool_dir=$1
    set +f
    set -- "$pool_dir"/*.qcow2
    set -f
    pool_each 'pool_files "json header"' "$@"
    set +f
    set -- "${pool_dir%/*}"/*.state
    set -f
    pool_each 'pool_files json' "$@"
    set +f
    set -- "$pool_dir"/.pool/*.users/*.json
    set -f
    pool_each 'pool_texts "$pool_most"' "$@"
    [ ! -r /proc/locks ] || pool_texts "$pool_most" /proc/locks
}

# Look at temporary files: DIRECTORY
# Parts of other names may be all there is of an image that is made a state.
pool_temporaries() {
    pool_clock "$1" 2>/dev/null || return 0
    set +f
    set -- "$1"/.pool/*.resume.part "$1"/.pool/*.tmp "$1"/.pool/.*.tmp
    set -f
    pool_each 'stat --printf "$pool_status" --' "$@"
}

# Tell device and room of a file system: DIRECTORY, which need not exist
pool_space() {
    pool_d=$1
    until pool_o=$(stat -L -c %d -- "$pool_d" 2>&1); do
        case $pool_o in
        *': No such file or directory' | *': Not a directory') ;;
        *)
            printf '%s\n' "$pool_o"
            return 1
            ;;
        esac
        pool_d=${pool_d%/*}
        pool_d=${pool_d:-/}
    done
    pool_x=$(stat -f -c '%a %S' -- "$pool_d") || return
    printf '+space %s %s\n' "${pool_o##*"$pool_nl"}" "$pool_x"
}
