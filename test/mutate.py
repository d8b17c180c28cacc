#!/usr/bin/env python3
"""Are the tests good enough to see a small error? Break lib/ in one place at a time, and run tests until one fails.

usage: mutate.py [-n MUTANTS] [-s SEED] [-t TESTS] FILE...

FILE is a source file of lib/ or cmd/; MUTANTS (20) are made of each, chosen by SEED (1). TESTS are names of .bats files, with commas
between, in the order in which they run. A line for each mutant says which test failed, or SURVIVED: then either no test looks there,
or the change makes no difference. Works in a copy of the tree. Takes a second to two minutes for each mutant."""
import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

TESTS = 'fuzz,fdrecv,place,record,fdsend'
# What is replaced by what, once on a line.
CHANGES = [
    (r' < ', ' <= '), (r' <= ', ' < '), (r' > ', ' >= '), (r' >= ', ' > '), (r' == ', ' != '), (r' != ', ' == '),
    (r' && ', ' || '), (r' \|\| ', ' && '), (r' \+ 1\b', ''), (r' - 1\b', ''), (r' \+ ', ' - '), (r' - ', ' + '),
    (r'\bif \((.*)\)$', r'if (!(\1))'), (r'\bwhile \((.*)\)$', r'while (0 && (\1))'),
    (r'return -1;', 'return 0;'), (r'return 0;', 'return -1;'), (r'return true;', 'return false;'),
    (r'return false;', 'return true;'), (r' \+= ', ' -= '), (r' = true;', ' = false;'), (r' = false;', ' = true;'),
    (r'^(\t+)(?!return|break|continue|goto|case|else|default)[a-z_>.\-\[\]]+(\(.*\)| [|&+\-]?= .*|\+\+|--);$', r'\1;'),
]


def mutants(path):
    """All single changes of PATH: (line number, the line as it becomes)."""
    found, comment = [], False
    for number, line in enumerate(open(path).read().split('\n')):
        starts = line.strip().startswith('/*')
        if comment or starts:
            comment = '*/' not in line
            continue
        code = line.split('/*')[0].rstrip()
        if not code.startswith('\t'):  # declarations
            continue
        for old, new in CHANGES:
            changed = re.sub(old, new, code, count=1)
            if changed != code:
                found.append((number, changed))
    return found


def failing(tree, tests, seconds):
    """The first test that fails, or None."""
    env = dict(os.environ, PATH=f'{tree}/build/bin:' + os.environ['PATH'])
    bats = subprocess.Popen(['timeout', '-k', '5', str(seconds), 'bats', '--tap', '--filter-tags', '!heavy',
                             *(f'test/{t}.bats' for t in tests)], cwd=tree, env=env, text=True, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    failed = None
    for line in bats.stdout:
        if line.startswith('not ok'):
            failed = line.split(' ', 3)[-1].strip()
            break
    if failed:
        os.killpg(bats.pid, signal.SIGTERM)
    bats.stdout.close()
    status = bats.wait()
    return failed or ('the time limit' if status else None)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('-n', type=int, default=20, metavar='MUTANTS')
    args.add_argument('-s', type=int, default=1, metavar='SEED')
    args.add_argument('-t', default=TESTS, metavar='TESTS')
    args.add_argument('file', nargs='+')
    args = args.parse_args()
    with tempfile.TemporaryDirectory(prefix='mutate.') as work:
        tree = work + '/tree'
        shutil.copytree('.', tree, symlinks=True, ignore=shutil.ignore_patterns('.git', 'build*'))
        os.chmod(work, 0o755)
        make = ['make', '-s', '-C', tree, 'programs']
        subprocess.run(make, check=True)
        count = survived = 0
        for file in args.file:
            whole = open(file).read()
            lines, rng = whole.split('\n'), random.Random(f'{args.s} {file}')
            all_of_it = mutants(file)
            for number, changed in sorted(rng.sample(all_of_it, min(args.n, len(all_of_it)))):
                broken = lines[:number] + [changed] + lines[number + 1:]
                open(f'{tree}/{file}', 'w').write('\n'.join(broken))
                if subprocess.run(make, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                    continue  # the compiler has seen it
                why = failing(tree, args.t.split(','), 300)
                count += 1
                survived += not why
                print(f'{"seen by " + why if why else "SURVIVED"}: {file}:{number + 1}: {lines[number].strip()} -> {changed.strip()}', flush=True)
            open(f'{tree}/{file}', 'w').write(whole)
        print(f'{count} mutants, {survived} survived')
    return 0


if __name__ == '__main__':
    sys.exit(main())
