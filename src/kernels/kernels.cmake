# Instruction-set flags per file. Each file's functions are reached only after the CPU was asked (kernels.c), so the rest
# of the library stays at the architecture's baseline. -O3 because the register tiles rely on full unrolling.
# Unrolled tiles take UBSan longest. Its checks of pointers are left to the address sanitizer here, and to the reference
# set, which gets the same pointers and has all of them: half of the time goes. Flags hold in the folder that calls this:
# tests/ compiles a file once more.
function(dlx_isa_source file)
  set(checks "")
  if(DLX_SANITIZE MATCHES "address")
    set(checks -fno-sanitize=null,alignment,object-size,pointer-overflow)
  endif()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/src/kernels/${file} PROPERTIES COMPILE_OPTIONS
                              "${ARGN};${checks};$<$<NOT:$<CONFIG:Debug>>:-O3>")
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  dlx_isa_source(avx2.c -mavx2 -mfma -mf16c)
  dlx_isa_source(avxvnni.c -mavx2 -mfma -mf16c -mavxvnni)
  dlx_isa_source(avx512.c -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  dlx_isa_source(avx512vnni.c -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
  dlx_isa_source(amx.c -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni) # tiles in assembly
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  dlx_isa_source(neon.c)
  dlx_isa_source(neon_dotprod.c -march=armv8.2-a+dotprod)
  dlx_isa_source(neon_i8mm.c -march=armv8.2-a+dotprod+i8mm)
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "wasm32")
  dlx_isa_source(simd128.c) # the toolchain file says whether the module has SIMD128
endif()
