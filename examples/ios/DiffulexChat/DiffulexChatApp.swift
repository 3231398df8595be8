import SwiftUI

@main
struct DiffulexChatApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}
