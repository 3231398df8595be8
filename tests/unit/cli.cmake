# Parts of the program that are tested apart from it.
add_library(dlx_doctor_machine OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cli/doctor_machine.c)
target_link_libraries(dlx_doctor_machine PRIVATE dlx_flags)
dlx_unit_test(test_cli_doctor LIBS $<TARGET_OBJECTS:dlx_doctor_machine>)
if(TARGET test_cli_doctor)
  target_include_directories(test_cli_doctor PRIVATE ${PROJECT_SOURCE_DIR}/cli)
endif()
