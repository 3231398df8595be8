# Cross build of the run half for WebAssembly with SIMD128 and WASI, by Debian's clang, lld, wasi-libc and
# libclang-rt-dev-wasm32. A module has one thread.
set(CMAKE_SYSTEM_NAME Generic) # programs and static libraries
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER clang)
set(CMAKE_C_COMPILER_TARGET wasm32-wasi)
set(CMAKE_EXECUTABLE_SUFFIX_C .wasm)

# What wasi-libc lacks comes from cmake/wasi; the headers of this machine's own C library are out of reach.
set(wasi "${CMAKE_CURRENT_LIST_DIR}/wasi")
set(CMAKE_C_FLAGS_INIT "-msimd128 -nostdlibinc -isystem ${wasi} -isystem /usr/include/wasm32-wasi \
-include ${wasi}/missing.h -D_WASI_EMULATED_GETPID")
set(CMAKE_HAVE_LIBC_PTHREAD TRUE CACHE INTERNAL "cmake/wasi/pthread.h has what is used of it")
# A stack that overflows ends the program instead of overwriting data.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Qunused-arguments -lwasi-emulated-getpid -Wl,-z,stack-size=1048576 -Wl,--stack-first")

set(CMAKE_FIND_ROOT_PATH /usr/lib/wasm32-wasi)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Without it, nothing is run: no tests, no manual page. tests/wasm/run.py is one, for a Python that has wasmtime.
set(DLX_WASM_ENGINE "" CACHE STRING "Command that runs a module with the folders of this machine")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES DLX_WASM_ENGINE)
if(DLX_WASM_ENGINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${DLX_WASM_ENGINE})
endif()
