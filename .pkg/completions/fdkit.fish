# SPDX-License-Identifier: ISC
# Completion of one of fdkit's commands for fish.

# __fdkit_parse WORD...: sort the words of a line into __fdkit_given, long options and their values, and
# __fdkit_operands; but for an option at the end that waits for its value.
function __fdkit_parse
    set -g __fdkit_name (string escape --style=var -- (string replace -r '.*/' '' -- $argv[1]))
    set -e argv[1]
    set -l specs __fdkit_specs_$__fdkit_name
    argparse -s $$specs -- $argv 2>/dev/null; or argparse -s $$specs -- $argv[1..-2] 2>/dev/null; or return
    set -g __fdkit_operands $argv
    set -g __fdkit_given
    for flag in (set -nl | string match '_flag_??*')
        set -a __fdkit_given --(string sub -s 7 -- $flag | string replace -a _ -)=$$flag[1][-1]
    end
    return 0
end

# __fdkit_may LONG [SHORT]: may this option stand here? Once, unless SHORT is -f or -E, and before the operands.
function __fdkit_may
    __fdkit_parse (commandline -opc); and not set -q __fdkit_operands[1]; or return
    contains -- "$argv[2]" -f -E; or not string match -q -- "$argv[1]=*" $__fdkit_given
end

# __fdkit_names: what the store at $FDKIT_SOCKET holds, or those here; fish shows nothing behind the cursor. A process named
# fdhold must have it among its words: any other that listens there might take us for the one that it waits for.
function __fdkit_names
    set -l stores $FDKIT_SOCKET
    set -q stores[1]; or set stores *
    set -l holders (grep -lzE '^(.*/)?@PREFIX@fdhold$' /proc/*/cmdline 2>/dev/null)
    set -q holders[1]; or return
    for store in $stores
        test -S $store; or string match -q '@*' -- $store
        and grep -qzF -e (string replace -r '.*/' '' -- $store) $holders 2>/dev/null
        and @PREFIX@fdhold -q -t 0.3 --list $store 2>/dev/null | cut -f 1,2
    end
end

# __fdkit_numbers: the descriptors that a command has here, and what they are; with --pid, those of that process.
function __fdkit_numbers
    __fdkit_parse (commandline -opc)
    set -l pid (string replace -f -- --pid= '' $__fdkit_given)
    set -l numbers 0 1 2
    set -q pid[1]; and set numbers (string replace -r '.*/' '' -- /proc/$pid/fd/* | sort -n)
    for n in $numbers
        printf '%s\t%s\n' $n (readlink /proc/(set -q pid[1]; and echo $pid; or echo self)/fd/$n)
    end
end

# __fdkit_sockets [PREFIX]: sockets and directories, behind PREFIX of the word that is typed.
function __fdkit_sockets
    set -l typed (string sub -s (math (string length -- "$argv[1]") + 1) -- (commandline -ct))
    string match -q -- '-*' $typed; and set typed (string replace -r '^--[^=]*=?|^-.' '' -- $typed)
    for file in (string replace -r '^~/' ~/ -- $typed)*
        set -l shown (string match -q '~/*' -- $typed; and string replace -- ~/ '~/' $file; or echo $file)
        test -d $file; and echo "$argv[1]$shown/"
        test -S $file; or string match -q '*.sock' -- $file; and printf '%s\tsocket\n' "$argv[1]$shown"
    end
end

# __fdkit_kind KIND: what stands as a value or an operand of this kind, but for files, which fish knows.
function __fdkit_kind
    set -l token (string replace -r '^--[^=]*=?|^-.' '' -- (commandline -ct))
    set -l list (string match -r '.*,' -- $token; or echo)
    set -l name (string match -r '^[^=]*=' -- $token; or echo)
    switch $argv[1]
        case SOCKET
            __fdkit_sockets
            string match -q '@*' -- $token; and string match -r '@.*' </proc/net/unix
            string match -qr '^[a-z]' -- $token; and printf '%s\n' exec:\t'/bin/sh -c' fd:\t'inherited descriptor'
        case ADDRESS
            string match -q -- '*unix:*' $token; and __fdkit_sockets "$name"unix:
            string join \n -- "$name"{127.0.0.1:\t'IPv4, this machine alone','[::1]:'\t'IPv6, this machine alone'} \
                "$name"{'*:'\t'every address',unix:\t'Unix socket',udp:\tdatagrams,fd:\t'inherited listening socket'}
        case LIST FD
            __fdkit_parse (commandline -opc)
            if not string match -q '*fdrecv' -- $__fdkit_name
                string join \n -- (string match -r '.*[,=]' -- $token; or echo)(__fdkit_numbers)
            else if string match -q -- '--connect=*' $__fdkit_given
                string join \n -- $list(__fdkit_names)
            end
        case NAME
            __fdkit_names
        case 'NAME,...'
            string join \n -- $list(set -nx)
        case PID
            __fish_complete_pids
        case 'WHO,...'
            string join \n -- $list(__fish_complete_users) $list:(__fish_complete_groups) $list"any"\t'everybody'
        case USER
            set -l user (string match -r '^[^:]*:' -- $token)
            and string join \n -- $user(__fish_complete_groups)
            or __fish_complete_users
        case MODE
            string join \n 600 660 666
        case TYPE
            string join \n stream dgram seqpacket
        case TIME
            string match -qr '^[0-9.]+$' -- $token
            and string join \n -- $token{ms\tmilliseconds,s\tseconds,m\tminutes,h\thours}
    end
end

# __fdkit_operand [KIND]: complete an operand; with KIND: is it one of that kind? (Then fish completes it.)
function __fdkit_operand
    __fdkit_parse (commandline -opc); or return
    set -l calls __fdkit_calls_$__fdkit_name
    for call in $$calls
        set -l with (string split \t -- $call)
        test -z "$with[1]"; or string match -q -- "$with[1]=*" $__fdkit_given; and set -f kinds (string split ' ' -- $with[2])
    end
    set -l n (math (count $__fdkit_operands) + 1)
    set -l command
    if test "$kinds[-2]" = --
        set kinds $kinds[1..-3]
        set command (contains -i -- -- $__fdkit_operands)
        and set command (math $command + 1)
    else if test "$kinds[-1]" = COMMAND -a $n -ge (count $kinds)
        set command (count $kinds)
    end
    if set -q command[1]
        set -q argv[1]; and return 1
        # Not escaped, a word such as ~ is expanded as fish does it.
        complete -C (string join ' ' -- (string escape -- $__fdkit_operands[$command..]) (commandline -ct))
        return
    end
    set -q kinds[$n]; or string match -q '*...' -- $kinds[-1]; and set n (math min $n,(count $kinds)); or return
    for kind in (string split / -- (string replace ... '' -- $kinds[$n]))
        set -q argv[1]; and test $kind = $argv[1]; and return
        set -q argv[1]; or __fdkit_kind $kind
    end
    not set -q argv[1]
end

for row in (string split \n -- '
@TABLE@
')
    set -l f (string split \t -- $row)
    set -l name (string escape --style=var -- $f[1])
    if test -z "$f[1]"
        continue
    else if test -z "$f[3]"
        set -ga __fdkit_calls_$name $f[2]\t$f[4]
        continue
    end
    set -l long (string sub -s 3 -- $f[3])
    set -l short (string sub -s 2 -- $f[2])
    set -l names -l $long
    test -n "$short"; and set -a names -s $short
    set -ga __fdkit_specs_$name (string trim -l -c / -- $short/$long)(test -n "$f[4]"; and echo '=+'; or echo)
    set -l value -x
    switch "$f[4]"
        case ''
            set value
        case FILE
            set value -r -F
        case '*'
            set -a value -a "(__fdkit_kind $f[4])"
    end
    complete -c $f[1] -n "__fdkit_may $f[3] $f[2]" $names $value -d $f[5]
end
complete -c @COMMANDS@ -f -a '(__fdkit_operand)'
complete -c @COMMANDS@ -F -n '__fdkit_operand ARG'
