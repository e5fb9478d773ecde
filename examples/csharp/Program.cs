// Enrols a person from pictures, verifies another picture and a stranger's, and shows what errors look like.
//
//   Enrol.exe ADDRESS API_KEY|- PERSON_ID STRANGER.jpg PROBE.jpg PICTURE.jpg...

using System;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using Facerec;

public static class Program
{
    public static int Main(string[] arguments)
    {
        if (arguments.Length < 6)
        {
            Console.Error.WriteLine("Enrol.exe ADDRESS API_KEY|- PERSON_ID STRANGER.jpg PROBE.jpg PICTURE.jpg...");
            return 2;
        }
        return RunAsync(arguments).GetAwaiter().GetResult();
    }

    private static async Task<int> RunAsync(string[] arguments)
    {
        string key = arguments[1] == "-" ? null : arguments[1];
        string personId = arguments[2];
        byte[] stranger = File.ReadAllBytes(arguments[3]);
        byte[] probe = File.ReadAllBytes(arguments[4]);
        using (var client = new FacerecClient(new Uri(arguments[0]), key))
        {
            Enrolment enrolment = await client.RegisterAsync(personId, arguments.Skip(5).Select(File.ReadAllBytes));
            Console.WriteLine("enrolled {0} from {1} pictures", enrolment.Person.PersonId, enrolment.Person.Embeddings);
            foreach (ImageResult image in enrolment.Images.Where(one => !one.Accepted))
            {
                Console.WriteLine("picture {0} refused: {1}", image.Index, image.Code);
            }

            Verification found = await client.VerifyAsync(probe);
            Console.WriteLine("probe is {0}", found.Match ? found.PersonId : "unknown");
            Verification other = await client.VerifyAsync(stranger);
            Console.WriteLine("stranger is {0}", other.Match ? other.PersonId : "unknown");
            Verification claimed = await client.VerifyAsync(stranger, personId);
            Console.WriteLine("stranger as {0}: {1}", personId, claimed.Match);

            Person person = await client.GetAsync(personId);
            Enrolment updated = await client.UpdateAsync(personId, new[] { probe }, version: person.Version);
            Console.WriteLine("now from {0} pictures", updated.Person.Embeddings);
            await ShowErrorAsync("an old version", () => client.UpdateAsync(personId, new[] { probe }, version: person.Version));
            await ShowErrorAsync("no picture", () => client.VerifyAsync(new byte[] { 1, 2, 3 }));

            await client.DeleteAsync(personId);
            await ShowErrorAsync("a deleted person", () => client.GetAsync(personId));
        }
        return 0;
    }

    private static async Task ShowErrorAsync(string what, Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (FacerecException error)
        {
            Console.WriteLine("{0}: {1} ({2})", what, error.Code, error.Status);
        }
    }
}
