if(DLX_RUNTIME_ONLY)
  dlx_unit_test(test_text_runtime MODULES base text text_jinja)
  return()
endif()

# An archive, so that a test links only what it uses: format/json has readers that need rooms above it.
add_library(dlx_text_archive STATIC $<TARGET_OBJECTS:dlx_base> $<TARGET_OBJECTS:dlx_format_json>
                                    $<TARGET_OBJECTS:dlx_text> $<TARGET_OBJECTS:dlx_text_jinja>
                                    $<TARGET_OBJECTS:dlx_text_full>)
target_link_libraries(dlx_text_archive PUBLIC m Threads::Threads PkgConfig::JANSSON PkgConfig::PCRE2
                                              PkgConfig::UTF8PROC)
foreach(name test_text test_tokenizer test_tokenizer_files test_tokenizer_packed test_tokenizer_qwen test_chat test_jinja)
  dlx_unit_test(${name} LIBS dlx_text_archive)
endforeach()

# The published vocabulary of Qwen is too large for this tree; the test looks for it beside the tree and says when it is
# not there.
if(TARGET test_tokenizer_qwen)
  target_compile_definitions(test_tokenizer_qwen PRIVATE DLX_SHARED_DEFAULT="${PROJECT_SOURCE_DIR}/../shared")
  set_tests_properties(test_tokenizer_qwen PROPERTIES SKIP_RETURN_CODE 77)
endif()
