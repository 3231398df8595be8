plugins {
    id("com.android.application") version "8.7.3"
    id("org.jetbrains.kotlin.android") version "2.0.21"
}

// The version of Qualcomm's libraries, for programs of --backend qnn; without it there is no QNN in the app.
val qnnVersion = providers.gradleProperty("qnnVersion").orNull

android {
    namespace = "org.diffulex.edge"
    compileSdk = 35
    defaultConfig {
        applicationId = "org.diffulex.edge"
        minSdk = 28
        targetSdk = 35
        ndk { abiFilters += "arm64-v8a" }
        externalNativeBuild {
            cmake {
                // Where ExecuTorch is installed for arm64-v8a, and CMAKE_PREFIX_PATH of jansson, PCRE2 and utf8proc for it.
                arguments += "-DEXECUTORCH_ROOT=${providers.gradleProperty("executorchRoot").getOrElse("")}"
                arguments += "-DCMAKE_FIND_ROOT_PATH=${providers.gradleProperty("librariesRoot").getOrElse("")}"
                if (qnnVersion != null) arguments += "-DQNN=ON"
                targets += "dlx_jni"
            }
        }
    }
    // The DSP opens its library by its path: as a file, not inside of the app's archive.
    packaging { jniLibs { useLegacyPackaging = qnnVersion != null } }
    externalNativeBuild { cmake { path = file("src/main/cpp/CMakeLists.txt") } }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
}

dependencies {
    if (qnnVersion != null) implementation("com.qualcomm.qti:qnn-runtime:$qnnVersion")
    implementation("androidx.activity:activity-ktx:1.9.3")
    implementation("androidx.lifecycle:lifecycle-runtime-ktx:2.8.7")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
}
