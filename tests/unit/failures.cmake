# Failures that the operating system would cause: memory that runs out, disks that fill up. The linker sends the calls
# that the library makes to the tests.
if(DLX_RUNTIME_ONLY OR CMAKE_CROSSCOMPILING)
  return() # the files they work on are exported first; what a refused call leads to is the same on every processor
endif()

# dlx_failing_calls(test call ...): the test defines __wrap_<call>.
function(dlx_failing_calls name)
  if(NOT TARGET ${name})
    return()
  endif()
  foreach(call ${ARGN})
    target_link_options(${name} PRIVATE LINKER:--wrap=${call})
  endforeach()
endfunction()

foreach(name test_out_of_memory test_out_of_memory_bench test_out_of_memory_constraint test_out_of_memory_export)
  dlx_unit_test(${name} LIBS dlx_core COST 30 LABELS failures)
  dlx_failing_calls(${name}
    malloc calloc realloc aligned_alloc strdup free mmap mmap64 munmap opendir fdopendir closedir unlinkat
    dlx_arena_alloc dlx_arena_array dlx_arena_strndup dlx_grow dlx_mem_grow
    pthread_create pthread_join pthread_mutex_init pthread_mutex_destroy pthread_cond_init pthread_cond_destroy
    pcre2_compile_8 pcre2_code_free_8 pcre2_jit_compile_8 pcre2_match_8 pcre2_match_context_create_8
    pcre2_match_context_free_8 pcre2_match_data_create_8 pcre2_match_data_free_8)
endforeach()

dlx_unit_test(test_io_failures LIBS dlx_core COST 20 LABELS failures)
dlx_failing_calls(test_io_failures
  open64 openat64 fstat64 pread64 write pwrite64 fsync close renameat linkat unlinkat fchmod fchown faccessat)

dlx_unit_test(test_allocator LIBS dlx_core)
dlx_failing_calls(test_allocator malloc calloc realloc aligned_alloc strdup free)

dlx_unit_test(test_solve_memory MODULES base kernels solve)
dlx_failing_calls(test_solve_memory aligned_alloc free)
