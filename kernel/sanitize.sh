#!/bin/sh
# Runs the kernel's tests with it built for gcc's address and undefined-behaviour sanitizers, in a folder of its own.
#
#   kernel/sanitize.sh PYTHON
set -eu
python=$1
folder=$(cd "$(dirname "$0")" && pwd)
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT

cp -R "$folder" "$built/kernel"
rm -rf "$built/kernel/build"
CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address,undefined" \
    "$python" -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --target "$built/site" "$built/kernel"

# Python and Arrow must take memory where the sanitizer sees it. What Python itself never frees is no leak of ours.
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
    PYTHONMALLOC=malloc ARROW_DEFAULT_MEMORY_POOL=system PYTHONPATH="$built/site${PYTHONPATH:+:$PYTHONPATH}" \
    "$python" -m pytest -p no:xdist -p no:cacheprovider "$folder/../tests/test_kernel.py" \
    "$folder/../tests/residue/test_needles_kernel.py" "$folder/../tests/residue/test_sought.py" "$folder/../tests/stores/test_postgres_copy.py" \
    "$folder/../tests/residue/test_numbers.py" "$folder/../tests/residue/test_raw_kernel.py" "$folder/../tests/residue/test_familiar.py" "$folder/../tests/stores/test_parquet_pages.py" "$folder/../tests/test_kernel_pages.py" "$folder/../tests/stores/test_files_by_bytes.py"
